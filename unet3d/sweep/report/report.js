"use strict";
// Sorting the table and copying commands. The buttons are made here, so that a page whose scripts
// do not run shows none that do nothing.

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
