(() => {
  // the threshold of an attack moves in the charts of both runs
  document.querySelectorAll(".attack").forEach((attack) => {
    const slider = attack.querySelector("input"), percent = (share) => (100 * share).toFixed(1);
    const charts = [...attack.querySelectorAll(".hist")].map((chart) => {
      const line = chart.querySelector(".threshold"), end = chart.querySelector(".grid");
      const read = (name) => JSON.parse(chart.dataset[name]);
      return { chart, line, x: [Number(end.getAttribute("x1")), Number(end.getAttribute("x2"))],
        tpr: read("members"), fpr: read("others") };
    });
    slider.addEventListener("input", () => {
      const threshold = Number(slider.value);
      attack.querySelector(".at").textContent = threshold.toFixed(2);
      charts.forEach((one) => {
        const x = one.x[0] + threshold * (one.x[1] - one.x[0]);
        one.line.setAttribute("x1", x);
        one.line.setAttribute("x2", x);
        ["tpr", "fpr"].forEach((rate) => {
          const above = one[rate].filter((score) => score > threshold).length;
          one.chart.querySelector(`.${rate}`).textContent = percent(above / one[rate].length);
        });
      });
    });
  });

  // an image that is clicked is marked in both spaces, with what both runs say of it
  const element = (name, content) => {
    const made = document.createElement(name);
    made.append(content);
    return made;
  };
  document.querySelectorAll(".maps.picked").forEach((maps) => {
    const cards = JSON.parse(maps.querySelector("template.cards").content.textContent);
    const card = maps.querySelector(".card");
    const pick = (number) => {
      maps.querySelectorAll(".chosen").forEach((one) => one.classList.remove("chosen"));
      const same = maps.querySelectorAll(`[data-i="${number}"]`);
      same.forEach((one) => {
        one.classList.add("chosen");
        if (one.tagName === "circle") one.parentNode.append(one);
      });
      const [[name, label, group], head, ...lines] = cards[number];
      const table = document.createElement("table");
      [head, ...lines].forEach((line, i) => {
        const row = table.insertRow();
        line.forEach((text) => row.append(element(i ? "td" : "th", text)));
      });
      const about = document.createElement("div");
      about.append(element("b", name), element("p", [label, group].filter(Boolean).join(", ")), table);
      card.replaceChildren(thumbnail(maps, number, [...same].some((one) => one.classList.contains("bare"))), about);
      card.hidden = false;
    };
    maps.querySelectorAll(".picks button").forEach((button) => {
      const picture = thumbnail(maps, button.dataset.i, button.classList.contains("bare"));
      if (picture) button.firstChild.replaceWith(picture);
    });
    maps.addEventListener("click", (event) => {
      const one = event.target.closest("circle, .picks button");
      if (one) pick(Number(one.dataset.i));
    });
  });

  document.querySelectorAll("form.pick select").forEach((select) => {
    select.addEventListener("change", () => select.form.submit());
  });
})();
