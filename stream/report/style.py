"""The page's style sheet. Only ``page`` uses it.

Every colour is a custom property with a light and a dark value; text reaches at least 4.5:1 against its ground in both.
Colour never stands alone: truth carries its label, the threshold is dashed, verdicts are words.
"""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #f7f6f3; --sheet: #ffffff; --ink: #1d2126; --soft: #59616b; --rule: #e2e0da;
  --score: #1f5582; --alert: #b3261e; --good: #1c6b3f; --truth: #f3e6c0; --truth-ink: #6a5100;
  --space: 1rem;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14171a; --sheet: #1c2024; --ink: #e7e9eb; --soft: #a2abb5; --rule: #31373d;
    --score: #8fbde8; --alert: #ff9186; --good: #82d3a3; --truth: #3d361f; --truth-ink: #e3c67c;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; -webkit-text-size-adjust: 100%;
}
main { max-width: 68rem; margin: 0 auto; padding: calc(3 * var(--space)) calc(1.25 * var(--space)); }
h1 { font-size: clamp(1.5rem, 1.2rem + 1.5vw, 2.1rem); line-height: 1.2; letter-spacing: -.015em; margin: 0; }
h2 { font-size: 1.2rem; letter-spacing: -.01em; margin: calc(3 * var(--space)) 0 var(--space); }
h3 { font-size: 1rem; margin: 0; }
p { margin: 0; max-width: 44rem; }
a { color: inherit; }
.soft { color: var(--soft); }
.small { font-size: .85rem; }
main > header p { margin-top: .35rem; color: var(--soft); }

.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 11rem), 1fr)); gap: var(--space);
  margin: calc(2 * var(--space)) 0 0; }
.tile { background: var(--sheet); border: 1px solid var(--rule); border-radius: .5rem; padding: var(--space); }
.tile dt { color: var(--soft); font-size: .85rem; }
.tile dd { margin: 0; }
.tile .value { font-size: 1.45rem; line-height: 1.35; font-weight: 600; letter-spacing: -.02em; }
.tile .note { color: var(--soft); font-size: .85rem; }

.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin-bottom: var(--space); color: var(--soft);
  font-size: .85rem; }
.legend span { display: inline-flex; align-items: center; gap: .45rem; }
.legend svg { flex: none; }

.timelines { display: grid; gap: var(--space); }
.timelines.many { grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr)); }
.timeline { background: var(--sheet); border: 1px solid var(--rule); border-radius: .5rem; padding: var(--space);
  min-width: 0; }
.timeline header { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 var(--space);
  margin-bottom: .5rem; }
.timeline header p { font-size: .85rem; }
.chart { display: block; overflow: visible; }
.chart text { font-size: 11.5px; fill: var(--soft); }
.chart .rule { stroke: var(--soft); }
.chart .grid { stroke: var(--rule); }
.chart .score, .legend .score { fill: none; stroke: var(--score); stroke-width: 1.5; stroke-linejoin: round;
  stroke-linecap: round; vector-effect: non-scaling-stroke; }
.chart .threshold, .legend .threshold { stroke: var(--ink); stroke-dasharray: 5 4; }
.chart .truth, .legend .truth { fill: var(--truth); }
.chart .truth-label { fill: var(--truth-ink); font-weight: 600; }
.chart .alert, .legend .alert { fill: var(--alert); }
.chart .alert-label { fill: var(--alert); font-weight: 600; }

.scroll { overflow-x: auto; background: var(--sheet); border: 1px solid var(--rule); border-radius: .5rem; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .5rem var(--space); text-align: left; vertical-align: baseline; white-space: nowrap; }
th { color: var(--soft); font-size: .85rem; font-weight: 500; }
td { border-top: 1px solid var(--rule); }
.number { text-align: right; }

.verdict { font-weight: 600; white-space: nowrap; }
.good { color: var(--good); }
.bad { color: var(--alert); }

.cards { display: grid; gap: calc(1.5 * var(--space)); }
.card { background: var(--sheet); border: 1px solid var(--rule); border-radius: .5rem;
  padding: calc(1.25 * var(--space)); scroll-margin-top: var(--space); }
.card:target { outline: 2px solid var(--score); }
.card > header { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 var(--space); }
.card > p { margin-top: .25rem; }
.pictures { display: grid; grid-template-columns: 2fr 1fr; gap: var(--space); margin: var(--space) 0; }
.pictures .side { display: grid; gap: var(--space); align-content: start; }
figure { margin: 0; min-width: 0; }
figure img, figure video { display: block; width: 100%; height: auto; aspect-ratio: auto 3 / 2;
  border: 1px solid var(--rule); border-radius: .25rem; background: var(--ground); }
figure .none { border: 1px dashed var(--rule); border-radius: .25rem; padding: calc(2 * var(--space)) var(--space);
  text-align: center; color: var(--soft); font-size: .85rem; }
figcaption { color: var(--soft); font-size: .85rem; margin-top: .35rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr));
  gap: .75rem var(--space); margin: 0; }
.facts dt { color: var(--soft); font-size: .85rem; }
.facts dd { margin: 0; }
details { margin-top: var(--space); }
summary { cursor: pointer; color: var(--soft); font-size: .85rem; }
details .scroll { margin-top: .5rem; }
.empty { background: var(--sheet); border: 1px dashed var(--rule); border-radius: .5rem;
  padding: calc(2 * var(--space)) var(--space); text-align: center; color: var(--soft); }
.empty p { margin: 0 auto; }
.notes { padding-left: 1.2rem; max-width: 44rem; }
.notes li + li { margin-top: .35rem; }
@media (max-width: 40rem) {
  main { padding: calc(1.5 * var(--space)) var(--space); }
  .pictures { grid-template-columns: 1fr; }
  .pictures .side { grid-template-columns: 1fr 1fr; }
  th, td { padding: .5rem .6rem; }
  .tiles { grid-template-columns: 1fr 1fr; gap: .6rem; }
}
@media print {
  body { background: none; }
  .card, .timeline { break-inside: avoid; }
}
"""
