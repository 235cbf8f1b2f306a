"""The look of a sweep's page, light and dark, and its script: sorting, copying."""

# What every page of the package begins with.
BASE = """
:root {
  --text: #1d2127; --quiet: #5c6570; --back: #ffffff; --raised: #f3f5f7; --line: #d5dae0;
  --green: #1a7f37; --amber: #8a5a00; --red: #c0262d; --blue: #0b62c4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --text: #e4e7eb; --quiet: #9aa4b0; --back: #14171b; --raised: #1f2429; --line: #363d45;
    --green: #57c873; --amber: #e0ac4a; --red: #ff7b7b; --blue: #74b3ff;
  }
}
body {
  margin: 0 auto; padding: 1.5rem; max-width: 90rem; line-height: 1.5;
  font-family: system-ui, sans-serif; color: var(--text); background: var(--back);
}
h1 { font-size: 1.6rem; margin: 0 0 .75rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
"""

STYLE = (
    BASE
    + """
pre {
  position: relative; margin: .5rem 0; padding: .7rem .9rem; overflow-x: auto;
  white-space: pre-wrap; overflow-wrap: anywhere;
  background: var(--raised); border: 1px solid var(--line); border-radius: 6px;
}
pre.scripted { padding-right: 5rem; }
code { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .88rem; }
button { font: inherit; color: inherit; cursor: pointer; }
button:focus-visible, .wide:focus-visible { outline: 2px solid var(--blue); outline-offset: 2px; }
pre button {
  position: absolute; top: .4rem; right: .4rem; padding: .1rem .6rem; font-size: .85rem;
  background: var(--back); border: 1px solid var(--line); border-radius: 5px;
}
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th, td { padding: .35rem .7rem; text-align: left; vertical-align: top; }
td { white-space: nowrap; }
th { vertical-align: bottom; background: var(--raised); border-bottom: 1px solid var(--line); }
tbody tr + tr td { border-top: 1px solid var(--line); }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
td.id { font-family: ui-monospace, Menlo, Consolas, monospace; }
td.error { white-space: normal; color: var(--red); overflow-wrap: anywhere; }
td.error:not(:empty) { min-width: 12rem; }
th button { padding: 0; border: 0; background: none; font-weight: inherit; text-align: left; }
th button::after { content: "\\2195"; margin-left: .3rem; opacity: .35; }
th[aria-sort="ascending"] button::after { content: "\\2191"; opacity: 1; }
th[aria-sort="descending"] button::after { content: "\\2193"; opacity: 1; }
.state.finished { color: var(--green); }
.state.pruned, .state.stopped { color: var(--amber); }
.state.failed { color: var(--red); }
.state.open { color: var(--blue); }
figure { margin: .5rem 0; }
img {
  display: block; box-sizing: border-box; max-width: 100%; height: auto; padding: .5rem;
  background: #ffffff; border: 1px solid var(--line); border-radius: 6px;
}
figcaption { color: var(--quiet); font-size: .88rem; margin-top: .3rem; }
"""
)

# Buttons are made here, so that a page without scripts shows none that do nothing.
SCRIPT = """
"use strict";
function key(row, column) {
  const cell = row.cells[column];
  return cell.dataset.key || cell.textContent.trim();
}
function isEmpty(text) { return text === "" || text === "-"; }
function compare(a, b) {
  const x = Number(a), y = Number(b);
  if (!Number.isNaN(x) && !Number.isNaN(y)) return x - y;
  return a.localeCompare(b, undefined, {numeric: true});
}
function sortBy(heading) {
  const table = heading.closest("table"), column = heading.cellIndex;
  const ascending = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const rows = Array.from(table.tBodies[0].rows);
  rows.sort((one, two) => {
    const a = key(one, column), b = key(two, column);
    if (isEmpty(a) || isEmpty(b)) return isEmpty(a) - isEmpty(b);
    return ascending ? compare(a, b) : compare(b, a);
  });
  table.tBodies[0].append(...rows);
}
for (const heading of document.querySelectorAll("th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...heading.childNodes);
  button.addEventListener("click", () => sortBy(heading));
  heading.append(button);
}
function selectText(node) {
  const range = document.createRange();
  range.selectNodeContents(node);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
}
for (const block of document.querySelectorAll("pre.copied")) {
  const text = block.querySelector("code"), button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text.textContent);
    } catch {  // a page opened from a file may not have the clipboard's API
      selectText(text);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  block.classList.add("scripted");
  block.append(button);
}
"""
