"""`python -m tests.bench`: see --help."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from tests.bench import measure


def arguments(names: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="fluxmagic side by side with its peers.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter blocks: to see that all is well")
    parser.add_argument("--cases", default=",".join(names), help="which, with commas between: %(default)s")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    parser.add_argument("--picture", type=Path, help="where to draw the cases (PNG); growth goes to NAME-growth.png")
    parser.add_argument("--jax-sync", action="store_true", help="let jax compute in the calling thread")
    options = parser.parse_args()
    options.cases = options.cases.split(",")
    if unknown := set(options.cases) - set(names):
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return options


def write(result: dict[str, Any], options: argparse.Namespace) -> None:
    """Write the figures as JSON and draw them, where that is asked for."""
    from tests.bench import report

    if options.json:
        options.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    if options.picture and "cases" in result:
        report.bars(list(result["cases"].values()), options.picture)
    if options.picture and "growth" in result:
        report.curves(result["growth"], options.picture.with_stem(options.picture.stem + "-growth"))


def main() -> None:
    """Measure, and print as it goes."""
    start = time.perf_counter()
    measure.pin()
    from tests.bench import report
    from tests.bench.cases import CASES
    from tests.bench.sections import SECTIONS, step

    options = arguments([case.name for case in CASES] + list(SECTIONS))
    if options.jax_sync:
        import jax

        jax.config.update("jax_cpu_enable_async_dispatch", False)

    result: dict[str, Any] = {"machine": report.machine(), "jax_sync": options.jax_sync, "quick": options.quick}
    rows: list[dict[str, Any]] = []

    def tell(name: str) -> None:
        print(f"{time.perf_counter() - start:4.0f} s  {name}", file=sys.stderr, flush=True)

    cases = [case for case in CASES if case.name in options.cases]
    for case in cases:
        tell(case.name)
        rows.append(step(case, options.quick))
    if cases:
        result["cases"] = dict(zip([case.name for case in cases], rows))
        print(report.table(rows), end="\n\n", flush=True)
    for name in [name for name in SECTIONS if name in options.cases]:
        tell(name)
        result[name] = SECTIONS[name](options.quick)
        if isinstance(result[name], list):
            rows += result[name]
            print(report.table(result[name]), end="\n\n", flush=True)
    for name, show in {"recording": report.recordings, "memory": report.sizes, "growth": report.steps}.items():
        if name in result:
            print(show(result[name]), end="\n\n")
    for line in report.missed(rows):
        print("not met:", line)
    tell("done")
    write(result, options)


if __name__ == "__main__":
    main()
