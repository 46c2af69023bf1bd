"""The folder of a study: what was asked, what its variants are, and its report. How runs stand is not noted here."""

import dataclasses
import json
from pathlib import Path

from clip_lightning.ablation.facts import Facts
from clip_lightning.ablation.plan import Plan
from clip_lightning.ablation.study import Study
from clip_lightning.config import Config
from clip_lightning.files import write_atomically

FORMAT = 1
STUDY = "study.json"


def write_plan(folder: Path, config: Config, plan: Plan) -> None:
    """Notes what a study wants; a later call with more seeds or variants replaces it.

    Args:
        folder: The study's folder, which exists.
        config: What its file says.
        plan: Its plan.
    """
    facts = {name: dataclasses.asdict(found) for name, found in plan.facts.items()}
    content = {"format": FORMAT, "name": plan.study.name, "study": config, "facts": facts}
    write_atomically(folder / STUDY, (json.dumps(content, indent=2) + "\n").encode())


def read_plan(folder: Path) -> Plan:
    """Reads what ``write_plan`` wrote.

    Raises:
        ValueError: If the folder holds no study that this version reads.
    """
    path = folder / STUDY
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{folder} is no folder of a study: it has no {STUDY}; ablate makes one") from None
    except ValueError:
        raise ValueError(
            f"{path} is damaged: it is not JSON; write it again with the study's ablate --dry_run"
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is no study of format {FORMAT}, which this version of clip_lightning reads")
    facts = {name: Facts(**found) for name, found in content["facts"].items()}
    return Plan(Study.read(content["study"], content["name"]), facts)
