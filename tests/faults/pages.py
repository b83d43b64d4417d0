"""What the kills and the soak leave: a record as JSON, and its page as Markdown beside it."""

import json
import os

import pandas as pd

from smoothmix.reporting import markup
from smoothmix.utils.environment import environment
from smoothmix.utils.files import write_text


def machine(device):
    """Return what a record says of the machine."""
    return {"load_average_before": os.getloadavg()[0], **environment(device)}


def save(output, record, to_markdown):
    """Write a record to `output` and its page beside it; print the page."""
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, json.dumps(record, indent=2) + "\n")
    write_text(output.with_suffix(".md"), to_markdown(record))
    print(to_markdown(record))


def page(record, title, *parts):
    """Return a record as Markdown: what was done, where, with which versions; paragraphs, tables; the command."""
    threads = record["threads"]
    head = (
        f"{title}: {record['device']}, {threads} CPU thread{'s' * (threads > 1)}, torch {record['versions']['torch']}, "
        f"load average before {record['load_average_before']:.1f}."
    )
    return "\n\n".join([head, *parts, f"    python {record['command']}\n"])


def markdown(rows):
    """Return the rows of a table as Markdown."""
    return markup.markdown(pd.DataFrame(rows))
