"""What ``--help`` prints: the YAML files, whose comments say what each key means."""

import re
import textwrap
from pathlib import Path

import yaml


def help_text(configs: Path, config_name: str, description: str, arguments: list[str]) -> str:
    """Return the description, the groups with their choices, and all keys with their values and comments.

    Args:
        configs: the folder of the YAML files.
        config_name: the command's own file in it.
        description: of the command, with examples.
        arguments: of the command line; the keys shown of a group are those of the choice there, or of the default.
    """
    text = (configs / f"{config_name}.yaml").read_text(encoding="utf-8")
    entries = [entry for entry in yaml.safe_load(text)["defaults"] if isinstance(entry, dict)]
    chosen = {group: choice for entry in entries for group, choice in entry.items() if "override" not in group}
    chosen |= {key: value for key, _, value in (word.partition("=") for word in arguments) if key in chosen}
    lines = [description.strip(), ""]
    if chosen:
        example = "mixing=cutmix" if "mixing" in chosen else "dataset=cifar100"
        lines.append(f"Groups, as in {example} (the keys of another choice: {config_name}.py --help {example})")
        for group in chosen:
            choices = f"  {group}: {', '.join(_choices(configs / group))}"
            lines += textwrap.wrap(choices, 120, subsequent_indent="    ", break_on_hyphens=False)
        lines.append("")
    example = "recipe.epochs=30" if "recipe" in chosen else "weights=last"
    lines.append(f"Keys, as in {example}, with their defaults")
    own = re.sub(r"^(?:defaults|hydra):\n(?:[ \t]+.*\n)*", "", text, flags=re.M)
    lines += [f"  {line}" for line in own.splitlines() if line and not line.startswith("#")]
    for group, choice in chosen.items():
        path = configs / group / f"{choice}.yaml"
        if path.is_file() and group != "experiment":
            lines += ["", f"  {group}:"]
            shown = path.read_text(encoding="utf-8").splitlines()
            lines += [f"    {line}" for line in shown if line and not line.startswith("_target_")]
    return "\n".join(lines)


def _choices(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))
