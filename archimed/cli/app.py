"""The `archimed` command: its verbs, in the order a person needs them."""

import typer

from archimed.cli import compare, correlate, data, doctor, evaluate, explain, export, listing, predict, run, stages

app = typer.Typer(
    name="archimed",
    help="Searches a neural network for your medical images, trains it, and evaluates it honestly beside baselines.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.command("resume")(stages.resume)
app.command("search")(stages.search)
app.command("train")(stages.train)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("explain")(explain.explain)
app.command("export")(export.export)
app.command("report")(stages.report)
app.command("compare")(compare.compare)
app.command("correlate")(correlate.correlate)
app.add_typer(data.app, name="data")
app.command("list")(listing.list_parts)
app.command("doctor")(doctor.doctor)
