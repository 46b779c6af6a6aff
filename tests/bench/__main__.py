"""`python -m tests.bench`: see --help."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from tests.bench import measure


def main() -> None:
    """Measure, and print as it goes."""
    start = time.perf_counter()
    measure.pin()
    from tests.bench import report
    from tests.bench.cases import CASES
    from tests.bench.sections import SECTIONS, step

    names = [case.name for case in CASES] + list(SECTIONS)
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="fluxmagic side by side with its peers.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter blocks: to see that all is well")
    parser.add_argument("--cases", default=",".join(names), help="which, with commas between: %(default)s")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    parser.add_argument("--picture", type=Path, help="where to draw the cases (PNG); growth goes to NAME-growth.png")
    parser.add_argument("--jax-sync", action="store_true", help="let jax compute in the calling thread")
    options = parser.parse_args()
    wanted = options.cases.split(",")
    if unknown := set(wanted) - set(names):
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if options.jax_sync:
        import jax

        jax.config.update("jax_cpu_enable_async_dispatch", False)

    result: dict[str, Any] = {"machine": report.machine(), "jax_sync": options.jax_sync, "quick": options.quick}
    rows: list[dict[str, Any]] = []

    def tell(name: str) -> None:
        print(f"{time.perf_counter() - start:4.0f} s  {name}", file=sys.stderr, flush=True)

    cases = [case for case in CASES if case.name in wanted]
    for case in cases:
        tell(case.name)
        rows.append(step(case, options.quick))
    if cases:
        result["cases"] = dict(zip([case.name for case in cases], rows))
        print(report.table(rows), end="\n\n", flush=True)
    for name, section in SECTIONS.items():
        if name in wanted:
            tell(name)
            result[name] = section(options.quick)
            if isinstance(result[name], list):
                rows += result[name]
                print(report.table(result[name]), end="\n\n", flush=True)
    if "memory" in result:
        print(report.sizes(result["memory"]), end="\n\n")
    if "growth" in result:
        print(report.steps(result["growth"]), end="\n\n")
    for line in report.missed(rows):
        print("not met:", line)
    tell("done")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    if options.picture and "cases" in result:
        report.bars(list(result["cases"].values()), options.picture)
    if options.picture and "growth" in result:
        report.curves(result["growth"], options.picture.with_stem(options.picture.stem + "-growth"))


if __name__ == "__main__":
    main()
