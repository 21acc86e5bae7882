"""What the pages of evaluations add to the report's style sheet: curves, bars, and frames shown in a row.

Lines differ by dashes as well as by colour; bars carry their number.
"""

from __future__ import annotations

MOST_LINES = 6
"""Lines of a chart that can be told apart."""

STYLE = """
:root { --l0: #1f5582; --l1: #b3541e; --l2: #1c6b3f; --l3: #7a3b8f; --l4: #8a6d00; --l5: #a01f5c; }
@media (prefers-color-scheme: dark) {
  :root { --l0: #8fbde8; --l1: #f0a36b; --l2: #82d3a3; --l3: #cfa2e0; --l4: #e3c67c; --l5: #f29ac0; }
}
.curves-row { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr));
  gap: var(--space); }
.curve { background: var(--sheet); border: 1px solid var(--rule); border-radius: .5rem; padding: var(--space);
  min-width: 0; }
.curve svg { width: 100%; height: auto; }
.curve .axis { font-size: 12px; fill: var(--ink); }
.line, .key { fill: none; stroke-width: 2; stroke-linejoin: round; }
.l0 { stroke: var(--l0); } .l1 { stroke: var(--l1); stroke-dasharray: 7 3; }
.l2 { stroke: var(--l2); stroke-dasharray: 2 3; } .l3 { stroke: var(--l3); stroke-dasharray: 10 3 2 3; }
.l4 { stroke: var(--l4); stroke-dasharray: 4 2; } .l5 { stroke: var(--l5); stroke-dasharray: 1 4; }
.keys { display: flex; flex-wrap: wrap; gap: .15rem 1rem; margin-top: .35rem; color: var(--soft); font-size: .85rem; }
.keys span { display: inline-flex; align-items: center; gap: .4rem; }
.keys svg { flex: none; width: 26px; }
.frames { display: grid; gap: var(--space); }
.frames .card { padding: var(--space); }
.strip { display: grid; grid-template-columns: repeat(5, 1fr); gap: .6rem; margin-top: .6rem; }
.strip figure img { aspect-ratio: auto; }
.bar { display: block; height: .55rem; border-radius: .2rem; background: var(--l0); min-width: 1px; }
.b1 { background: var(--l1); } .b2 { background: var(--l2); } .b3 { background: var(--l3); }
.b4 { background: var(--l4); } .b5 { background: var(--l5); }
.bars td { vertical-align: middle; } .bars td.wide { width: 40%; min-width: 12rem; white-space: normal; }
.warning { border-left: .3rem solid var(--alert); background: var(--sheet); padding: .6rem var(--space);
  margin-top: var(--space); }
td.text { white-space: normal; min-width: 18rem; }
@media (max-width: 40rem) { .strip { grid-template-columns: 1fr 1fr; } }
@media print { .curve { break-inside: avoid; } }
"""
