"""What the README and CONTRIBUTING say has to work as it stands there."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient

import fluxmagic

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def code_blocks(name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)


def block_with(text: str, name: str = "README.md") -> str:
    (block,) = (b for b in code_blocks(name) if text in b)
    return block


def run_block(text: str, namespace: dict[str, Any]) -> None:
    exec(compile(block_with(text), "README.md", "exec"), namespace)


def test_fits_on_130_lines() -> None:
    assert len(README.splitlines()) <= 130


def test_linked_files_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if not link.startswith("https://")]
    assert "notebooks/where_it_can_fool_you.ipynb" in links
    for link in [*links, *re.findall(r"jupyter lab (\S+)", README)]:
        assert (ROOT / link).is_file(), link
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (ROOT / picture).read_bytes().startswith(b"\x89PNG")


def test_extras_that_it_names_are_declared() -> None:
    import tomllib

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = set(re.findall(r"`\[(\w+)\]`", README)) | set(re.findall(r'"\.\[(\w+)\]"', README))
    assert named == set(declared)


def test_its_cell_and_summary_are_those_of_the_quickstart() -> None:
    quickstart = nbformat.read(ROOT / "notebooks/quickstart.ipynb", 4)
    (cell,) = (c for c in quickstart.cells if c.source.startswith("%%train"))
    assert block_with("%%train").strip() == cell.source
    (summary,) = re.findall(r"```\n(run: .*?)\n```", README, re.DOTALL)
    assert summary in [o.get("data", {}).get("text/plain") for o in cell.outputs]


def test_the_cells_that_it_shows_run_in_a_notebook() -> None:
    data = "\n".join(
        [
            "from sklearn.datasets import load_digits",
            "images, y = load_digits(return_X_y=True)",
            "X, Xtest, y, ytest = images[:1000] / 16, images[1000:] / 16, y[:1000], y[1000:]",
        ]
    )
    cells = [data, block_with("%load_ext"), block_with("%%train"), block_with("Panel(loss"), "run.steps"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute(
        env={**os.environ, "PYTHONWARNINGS": "default"}
    )
    (steps,) = notebook.cells[-1].outputs
    assert steps.data["text/plain"] == str(40 * 32)
    assert not [o for c in notebook.cells for o in c.outputs if o.get("name") == "stderr"]


def test_the_script_prints_what_the_readme_says() -> None:
    script = block_with("import numpy")
    promised = re.findall(r"print\(.*\) +# (\S+)", script)
    assert promised
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(script, "README.md", "exec"), {})
    assert printed.getvalue().split() == promised


def test_a_model_of_a_data_frame_is_trained_saved_loaded_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fluxmagic.seed(0)
    rng = np.random.default_rng(0)
    df = pd.DataFrame(rng.normal(size=(400, 3)), columns=["a", "b", "c"])
    df["price"] = df.a - 2 * df.b
    names: dict[str, Any] = {"X": df[["a", "b", "c"]], "y": df[["price"]]}
    run_block("Run(lambda", names)
    run = names["run"]
    assert run.shown_loss < 0.2 * run.epoch_losses[0]
    assert len(pd.DataFrame(run.history)) == run.steps == 50 * 13
    run_block("save_params(model", names)
    prediction = names["prediction"]
    assert type(prediction) is np.ndarray
    assert prediction.shape == (400, 1)
    assert np.mean((prediction - df[["price"]].to_numpy()) ** 2) < 0.2 * df.price.var()

    df.to_pickle("df.pickle")
    np.save("prediction.npy", prediction)
    elsewhere = "\n".join(
        [
            "import numpy as np, pandas as pd",
            "from fluxmagic import Chain, Dense, relu, load_params, predict",
            next(line for line in block_with("Run(lambda").splitlines() if line.startswith("model =")),
            *(line for line in block_with("save_params(model").splitlines() if line.startswith("load_params")),
            "X = pd.read_pickle('df.pickle')[['a', 'b', 'c']]",
            "assert (predict(model, X) == np.load('prediction.npy')).all()",
        ]
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-W", "error", "-c", elsewhere], check=True, env=environment, timeout=60)


def test_the_speed_table_has_the_measured_figures() -> None:
    cases = {c["title"]: c for c in json.loads((ROOT / "tests/bench/results.json").read_text())["cases"].values()}
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in README.splitlines()
        if re.match(r"\| .* [µm]s \|", line)
    ]
    assert 1 <= len(rows) <= 6
    ratio_names = ("torch", "jax", "captured × jax", "fast × jax")
    for title, *figures in rows:
        for name, time in zip(("fluxmagic", "captured", "fast"), figures, strict=False):
            number, unit = time.split()
            seconds = float(number) * {"µs": 1e-6, "ms": 1e-3}[unit]
            assert seconds == pytest.approx(cases[title]["seconds"][name]["median"], rel=0.03)
        measured = [cases[title]["ratios"][name]["median"] for name in ratio_names]
        assert [float(r) for r in figures[3:]] == pytest.approx(measured, rel=0.01)


def test_the_test_command_is_what_ci_calls() -> None:
    assert re.findall(r"^pip install -e .*&& pytest$", README, re.MULTILINE) == ['pip install -e ".[test]" && pytest']


def test_the_optimiser_of_contributing_has_dials_and_learns() -> None:
    from fluxmagic import Run, param
    from fluxmagic.optimise import OPTIMISERS

    example = block_with("class SignSGD", "CONTRIBUTING.md")
    exec(compile(example, "CONTRIBUTING.md", "exec"), {"__name__": "notebook"})
    assert list(OPTIMISERS["SignSGD"].hypers)[:2] == ["η", "ρ"]
    W = param([1.0, -1.0])
    run = Run(lambda x: ((W - x) ** 2).sum(), [0.0] * 500, "SignSGD", hypers={"eta": 0.01})
    run.train()
    assert run.last_loss < 1e-3


def test_the_operation_of_contributing_is_what_the_table_has() -> None:
    from fluxmagic.tracker import gradcheck

    assert "np.hypot" in block_with("define(", "CONTRIBUTING.md")
    assert gradcheck(lambda a, b: np.sum(np.hypot(a, b)), [3.0, 1.0], [4.0, 2.0])
