"""Draw what the race measured: a PNG of four panels, who was served first, and the same in a terminal."""

import math

import matplotlib
from rich.console import Console
from rich.table import Table

from ladder import RUNGS

matplotlib.use("Agg")  # a file, no window
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

BLOCKS = "▁▂▃▄▅▆▇█"
# (attribute of a Result, title, by how much to divide, logarithmic?)
PANELS = (
    ("rate", "Answers a second", 1, False),
    ("wait", "Wait for one answer, ms (95 of 100 clients wait less)", 1e-3, True),
    ("memory", "Memory of all processes, MB", 1e6, True),
)


def label(number):
    """Return a rung's label, such as "4 thread pool"."""
    stem = RUNGS[number].stem
    return f"{number} {stem.partition('_')[2].replace('_', ' ') if stem.startswith('rung') else stem + '.py'}"


def broken(load, result):
    return result.served < load.asking


def draw(file, rungs, many, crowds, results):
    """Write the PNG: who was served, and three curves over the number of clients."""
    figure, axes = plt.subplots(2, 2, figsize=(15, 11), layout="constrained")
    for axis, (name, title, unit, logarithmic) in zip(axes.flat[1:], PANELS, strict=True):
        for place, number in enumerate(rungs):
            draw_curve(axis, number, place, many, results, name, unit)
        axis.set(title=title, xlabel="clients", xscale="log")
        axis.set_xticks([load.asking for load in many], [load.asking for load in many])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        if logarithmic:
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.yaxis.set_minor_locator(NullLocator())
        else:
            axis.set_ylim(bottom=0)
    draw_served(axes[0, 0], rungs, [*many, *crowds], results)
    figure.legend(*axes[0, 1].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.suptitle(
        "The ladder under one load (a cross: some clients got no answer in the whole measurement)", fontsize=14
    )
    meanings = "\n".join(f"{load.name}: {load.meaning}" for load in crowds)
    axes[0, 0].text(0, -0.02, meanings, transform=axes[0, 0].transAxes, va="top", fontsize=9)
    figure.savefig(file, dpi=100)
    plt.close(figure)


def draw_curve(axis, number, place, many, results, name, unit):
    points = [(load, results[number, load]) for load in many if (number, load) in results]
    x = [load.asking for load, _ in points]
    y = [getattr(result, name) / unit for _, result in points]
    (line,) = axis.plot(x, y, color=f"C{place % 10}", marker="osD^v"[place % 5], label=label(number), alpha=0.8)
    for load, result in points:
        if broken(load, result):
            y = getattr(result, name) / unit
            axis.plot(load.asking, y, color=line.get_color(), marker="x", markersize=9, markeredgewidth=2)


def draw_served(axis, rungs, loads, results):
    """Draw a table of the asking clients that were served, green where all were."""
    cells = [[results.get((number, load)) for load in loads] for number in rungs]
    texts = [[f"{cell.served}" if cell else "" for cell in row] for row in cells]
    colours = [
        [
            "white" if not cell else "#f4b6b0" if broken(load, cell) else "#bfe3bf"
            for load, cell in zip(loads, row, strict=True)
        ]
        for row in cells
    ]
    names = [f"{load.name}" for load in loads]
    axis.axis("off")
    axis.set_title("Clients that were served (red: not all)")
    table = axis.table(texts, colours, rowLabels=[label(n) for n in rungs], colLabels=names, bbox=(0.22, 0, 0.78, 1))
    table.auto_set_font_size(False)
    table.set_fontsize(9)


def bars(rungs, many, results, name, logarithmic):
    """Return {rung: a string with one block for each number of clients}, all on one scale."""
    scale = math.log if logarithmic else float
    values = {key: scale(max(getattr(result, name), 1e-6)) for key, result in results.items() if key[1] in many}
    low = min(values.values(), default=0) if logarithmic else 0
    high = max(values.values(), default=1)

    def block(number, load):
        if (number, load) not in values:
            return " "
        return BLOCKS[round((values[number, load] - low) / ((high - low) or 1) * (len(BLOCKS) - 1))]

    return {number: "".join(block(number, load) for load in many) for number in rungs}


def verdict(load, result):
    """Return a cell of the last table: the rate, or how many clients got an answer."""
    if result is None:
        return "-"
    return (
        f"[red]{result.served} of {load.asking}[/red]" if broken(load, result) else f"[green]{result.rate:,.0f}[/green]"
    )


def new_table(title, *columns):
    """Return a table that fits a terminal of 80 columns."""
    table = Table("\nrung", title=title, box=None, padding=(0, 1, 0, 0), title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def bars_table(rungs, many, results):
    counts = ", ".join(load.name for load in many)
    heads = "served\n(× not all)", "answers/s\n", "wait\n(log)", "memory\n(log)"
    table = new_table(f"From left to right: {counts} clients", *heads)
    columns = [bars(rungs, many, results, name, logarithmic) for name, _, _, logarithmic in PANELS]
    for number in rungs:
        pairs = [(load, results.get((number, load))) for load in many]
        served = "".join(" " if not result else "×" if broken(load, result) else "·" for load, result in pairs)
        table.add_row(label(number), served, *(column[number] for column in columns))
    return table


def numbers_table(rungs, many, crowds, results):
    heads = "breaks at\nclients", "best\n/s", "wait\nms", "memory\nMB", "100 idle\n/s", "10 slow\n/s", "4 big\n/s"
    table = new_table("In numbers (worst wait, most memory; in the last three 4 ask)", *heads)
    for number in rungs:
        own = {load: results[number, load] for load in many if (number, load) in results}
        breaks = [load.name for load, result in own.items() if broken(load, result)]
        cells = ["-"] * 3
        if own:
            best = max(result.rate for result in own.values())
            wait = max(result.wait for result in own.values()) * 1e3
            memory = max(result.memory for result in own.values()) / 1e6
            cells = [f"{best:,.0f}", f"{wait:,.1f}", f"{memory:,.0f}"]
        crowd_cells = (verdict(load, results.get((number, load))) for load in crowds)
        table.add_row(label(number), breaks[0] if breaks else "-", *cells, *crowd_cells)
    return table


def show(rungs, many, crowds, results):
    """Print the table, what its loads mean, and the picture in blocks."""
    console = Console(highlight=False)
    console.print(numbers_table(rungs, many, crowds, results), "", sep="\n")
    for load in crowds:
        console.print(f"{load.name}: {load.meaning}")
    console.print("", bars_table(rungs, many, results), "", sep="\n")
    console.print("Rungs 10 to 12 speak HTTP: 10 and httpd.py send a file of the message's size,")
    console.print("async_wsgi.py echoes a POST; the last two have a worker for each core.")
