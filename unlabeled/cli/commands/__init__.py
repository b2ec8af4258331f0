"""The verbs of the command line, a file each, in the order in which ``--help`` lists them."""

# importing a file adds its verb; each imports what is heavy only when it is called
from unlabeled.cli.commands import (  # noqa: F401, I001
    recipes,
    data,
    pretrain,
    sweep,
    launch,
    probe,
    evaluate,
    forget,
    purge,
    record,
    finetune,
    predict,
    neighbours,
    select,
    report,
    compare,
    export,
    import_,
    rerun,
    runs,
    cache,
    doctor,
    bench,
    demo,
)
