"""Imports run one way: who may know whom, by the source, and what a fresh process loads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "clip_lightning"

# What every part may import beside itself: plain descriptions, no part of ours depends on where they are used.
NEUTRAL = {"spec", "batch", "config", "files", "offline", "refusal"}

MAY_IMPORT = {
    "models": set(),
    "text": set(),
    "results": set(),
    "reference": {"results"},
    "stats": set(),
    "optim": set(),
    "sharding": {"models"},
    "strategy": {"checkpoint", "sharding"},
    "objectives": {"models", "text"},
    "data": {"text"},
    "inference": {"models", "text", "data", "objectives", "results"},
    "evaluation": {"data", "results", "stats", "text"},
    "checkpoint": {"models", "sharding"},
    "averages": {"checkpoint"},
    "interchange": {"averages", "checkpoint", "data", "models", "objectives", "results", "sharding", "text"},
    "task": {"averages", "checkpoint", "interchange", "models", "objectives", "optim", "sharding", "text"},
    "datamodules": {"data", "models", "task"},
    "tracking": {"results"},
    "reports": {"ablation", "executors", "reference", "results", "stats"},
    "executors": set(),
    "ablation": {"executors", "results", "stats", "tracking"},
    "callbacks": {"averages", "checkpoint", "data", "evaluation", "inference", "reports", "results", "sharding",
                  "strategy", "tracking"},
    "cli": {"ablation", "averages", "callbacks", "checkpoint", "data", "datamodules", "evaluation", "executors",
            "inference", "interchange", "models", "objectives", "optim", "reference", "reports", "results", "sharding",
            "strategy", "task", "text", "tracking"},
}  # fmt: skip

THIRD_PARTY_NEVER = {
    "models": {"lightning", "mlflow"},
    "text": {"lightning", "torchvision"},
    "reference": {"torch"},
    "results": {"torch"},
    "stats": {"torch"},
    "data": {"lightning", "timm"},
    "objectives": {"lightning"},
    "inference": {"lightning"},
    "evaluation": {"lightning"},
    "reports": {"torch", "lightning"},
    "executors": {"torch", "lightning", "mlflow"},
    "ablation": {"torch", "lightning", "mlflow"},
}


def part_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def type_checking_lines(tree):
    """Lines under ``if TYPE_CHECKING``, which do not run."""
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    return {node.lineno for block in blocks for node in ast.walk(block) if hasattr(node, "lineno")}


def imports(path):
    """Modules that a file imports at any depth."""
    tree = ast.parse(path.read_text())
    skipped = type_checking_lines(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and node.lineno not in skipped:
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.lineno not in skipped:
            if node.module == "clip_lightning":
                yield from (f"clip_lightning.{alias.name}" for alias in node.names)
            else:
                yield node.module


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or part_of(path) in MAY_IMPORT)


def test_every_part_has_a_rule():
    parts = {part_of(path) for path in PACKAGE.rglob("*.py")} - {"__init__", "__main__"} - NEUTRAL
    assert parts == set(MAY_IMPORT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    part = part_of(path)
    for module in imports(path):
        root, _, rest = module.partition(".")
        if root == "clip_lightning" and rest:
            known = rest.partition(".")[0]
            assert known in MAY_IMPORT[part] | NEUTRAL | {part}, f"{part} may not import {module}"
        assert root not in THIRD_PARTY_NEVER.get(part, ()), f"{part} may not import {module}"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("__main__", ["torch", "numpy", "yaml", "jsonargparse"]),
        ("results", ["torch"]),
        ("stats", ["torch"]),
        ("tracking", ["torch", "mlflow", "lightning"]),
        ("tracking.mlflow_delivery", ["torch", "mlflow", "lightning"]),
        ("tracking.run_folder", ["torch", "mlflow", "lightning"]),
        ("reports.figures", ["torch", "lightning"]),
        ("reports.evaluation", ["torch", "lightning", "mlflow"]),
        ("cli.report", ["torch", "lightning", "mlflow"]),
        ("executors", ["torch", "lightning", "mlflow", "submitit"]),
        (
            "cli.ablate",
            ["torch", "lightning", "mlflow", "jsonargparse", "clip_lightning.models", "clip_lightning.data"],
        ),
        ("models", ["lightning", "timm", "mlflow", "jsonargparse", "webdataset", "open_clip"]),
        ("objectives", ["lightning", "mlflow", "jsonargparse", "webdataset", "open_clip"]),
        ("optim", ["lightning", "mlflow", "jsonargparse", "webdataset", "open_clip"]),
        ("data", ["lightning", "timm"]),
        ("evaluation", ["lightning", "clip_lightning.models", "clip_lightning.objectives"]),
        ("inference", ["lightning", "mlflow"]),
        ("interchange", ["lightning", "mlflow"]),
    ],
)
def test_a_fresh_process_loads_no_more_than_it_needs(module, absent):
    code = f"import sys, clip_lightning.{module}; print([name for name in {absent} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
