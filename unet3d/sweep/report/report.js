"use strict";
// Sorting and filtering tables, and copying commands. Buttons and fields are made here: a page whose
// scripts do not run shows none that do nothing.

function sortKey(row, column) {
  const cell = row.cells[column];
  return cell.dataset.key || cell.textContent.trim();
}

function isEmpty(text) {
  return text === "" || text === "-";
}

function compare(a, b) {
  const x = Number(a);
  const y = Number(b);
  if (!Number.isNaN(x) && !Number.isNaN(y)) return x - y;
  return a.localeCompare(b, undefined, {numeric: true});
}

function sortBy(heading) {
  const table = heading.closest("table");
  const column = heading.cellIndex;
  const ascending = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const rows = Array.from(table.tBodies[0].rows);
  rows.sort((one, two) => {
    const a = sortKey(one, column);
    const b = sortKey(two, column);
    if (isEmpty(a) || isEmpty(b)) return isEmpty(a) - isEmpty(b);  // last in both directions
    return ascending ? compare(a, b) : compare(b, a);
  });
  table.tBodies[0].append(...rows);
}

const TERM = /^(.+?)(<=|>=|=|<|>)(.+)$/;

function columnNamed(table, name) {
  const headings = Array.from(table.tHead.rows[0].cells, (cell) => cell.textContent.trim());
  const exact = headings.indexOf(name);
  return exact >= 0 ? exact : headings.findIndex((heading) => heading.split(/[. ]/).at(-1) === name);
}

function holds(value, sign, wanted) {
  if (sign === "=" && value.toLowerCase() === wanted) return true;
  if (isEmpty(value)) return false;
  const order = compare(value, wanted);
  if (sign.includes("=") && order === 0) return true;
  return sign.startsWith("<") ? order < 0 : sign.startsWith(">") && order > 0;
}

// "lr=0.001", "val/dice>0.8", or a text anywhere in the row.
function matches(row, table, term) {
  const [, name, sign, wanted] = TERM.exec(term) || [];
  const column = name === undefined ? -1 : columnNamed(table, name);
  if (column < 0) return row.textContent.toLowerCase().includes(term.toLowerCase());
  const shown = row.cells[column].textContent.trim();
  const value = wanted.toLowerCase();
  return holds(sortKey(row, column), sign, value) || (sign === "=" && holds(shown, sign, value));
}

function addFilter(table) {
  const rows = Array.from(table.tBodies[0].rows);
  const label = document.createElement("label");
  const field = document.createElement("input");
  const count = document.createElement("output");
  field.type = "search";
  field.placeholder = "lr=0.001 finished";
  field.title = "All of these words; a heading with =, <, >, <= or >= and a value looks at that column";
  field.addEventListener("input", () => {
    const terms = field.value.split(/\s+/).filter(Boolean);
    let left = 0;
    for (const row of rows) {
      row.hidden = !terms.every((term) => matches(row, table, term));
      left += !row.hidden;
    }
    count.textContent = terms.length ? `${left} of ${rows.length}` : "";
  });
  label.className = "filter";
  label.append("Filter ", field, " ", count);
  table.closest(".wide").before(label);
}

function selectText(node) {
  const range = document.createRange();
  range.selectNodeContents(node);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
}

async function copyText(node) {
  try {
    await navigator.clipboard.writeText(node.textContent);
  } catch {  // a page opened from a file may not have the clipboard's API
    selectText(node);
    document.execCommand("copy");
  }
}

function addButton(parent, content, onClick) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...content);
  button.addEventListener("click", () => onClick(button));
  parent.append(button);
}

for (const table of document.querySelectorAll(".wide table")) addFilter(table);
for (const heading of document.querySelectorAll("thead th")) {
  addButton(heading, heading.childNodes, () => sortBy(heading));
}
for (const block of document.querySelectorAll("pre.copied")) {
  const code = block.querySelector("code");
  addButton(block, ["Copy"], async (button) => {
    await copyText(code);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  block.classList.add("scripted");
}
