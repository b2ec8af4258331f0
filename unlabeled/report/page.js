"use strict";
const names = new WeakMap();
const namesOf = (maps) => {
  if (!names.has(maps)) names.set(maps, JSON.parse(maps.querySelector("template.names").content.textContent));
  return names.get(maps);
};

// the picture of an image: a file of the server, or a part of the sheet in the page; nothing where it must not be seen
const thumbnail = (maps, number, bare = false) => {
  if (bare) return "";
  if (maps.dataset.thumbs) {
    const image = new Image();
    image.src = `${maps.dataset.thumbs}${number}.png`;
    return image;
  }
  const columns = Number(maps.dataset.columns), side = Number(maps.dataset.side);
  const total = namesOf(maps).length, zoom = Math.max(1, Math.round(112 / side)), shown = side * zoom;
  const image = document.createElement("i");
  image.className = `picture ${maps.dataset.atlas}`;
  image.style.width = image.style.height = `${shown}px`;
  image.style.backgroundSize = `${columns * shown}px ${Math.ceil(total / columns) * shown}px`;
  image.style.backgroundPosition = `${-(number % columns) * shown}px ${-Math.floor(number / columns) * shown}px`;
  return image;
};

(() => {
  const root = document.documentElement;
  const tip = document.getElementById("tip");

  // light and dark: the system's choice until the button is used
  document.getElementById("theme").addEventListener("click", () => {
    const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    root.dataset.theme = (root.dataset.theme || system) === "dark" ? "light" : "dark";
  });

  // a recipe belongs on paper, too
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));

  const place = (event) => {
    const { innerWidth: width, innerHeight: height } = window;
    const box = tip.getBoundingClientRect();
    const x = event.clientX + 16, y = event.clientY + 16;
    tip.style.left = `${Math.max(4, x + box.width > width ? event.clientX - box.width - 12 : x)}px`;
    tip.style.top = `${Math.max(4, y + box.height > height ? event.clientY - box.height - 12 : y)}px`;
  };

  const clear = () => {
    tip.hidden = true;
    document.querySelectorAll(".scatter .on").forEach((c) => c.classList.remove("on"));
  };

  document.addEventListener("pointerover", (event) => {
    clear();
    const point = event.target.closest(".scatter circle");
    const holder = event.target.closest("[data-tip]");
    if (point) {
      const maps = point.closest(".maps"), number = Number(point.dataset.i);
      const same = `.maps[data-atlas="${maps.dataset.atlas}"] circle[data-i="${number}"]`;
      document.querySelectorAll(same).forEach((c) => c.classList.add("on"));
      tip.replaceChildren(thumbnail(maps, number, point.classList.contains("bare")), namesOf(maps)[number]);
    } else if (holder) {
      tip.replaceChildren(holder.dataset.tip);
    } else {
      return;
    }
    tip.hidden = false;
    place(event);
  });
  document.addEventListener("pointermove", (event) => { if (!tip.hidden) place(event); });
  document.addEventListener("pointerleave", clear);

  document.querySelectorAll(".classes button").forEach((button) => button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") === "true";
    document.querySelectorAll(".classes button").forEach((other) => {
      other.setAttribute("aria-pressed", String(!on && other.dataset.c === button.dataset.c));
    });
    document.querySelectorAll(".scatter circle").forEach((c) => {
      c.classList.toggle("off", !on && c.dataset.c !== button.dataset.c);
    });
  }));

  const key = (row, column) => {
    const cell = row.cells[column];
    if (cell.classList.contains("num")) return cell.dataset.value === undefined ? -Infinity : Number(cell.dataset.value);
    return cell.textContent.trim();
  };
  document.querySelectorAll("table.sortable th").forEach((head) => head.addEventListener("click", () => {
    const body = head.closest("table").tBodies[0], column = head.cellIndex;
    const rows = [...body.rows].map((row) => [key(row, column), row]);
    // the best number and the first name come first
    const down = rows.some(([value]) => typeof value === "number") !== (head.dataset.turn === "1");
    rows.sort(([a], [b]) => (typeof a === "number" ? Math.sign(a - b) || 0 : a.localeCompare(b)) * (down ? -1 : 1));
    head.closest("tr").querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    head.dataset.turn = head.dataset.turn === "1" ? "0" : "1";
    body.append(...rows.map(([, row]) => row));
  }));
})();
