"use strict";
// Buttons, list and keys (N, P) that lead from one case of a folder to another.

{
  const list = document.getElementById("cases");
  const go = (number) => {
    if (list !== null && number >= 0 && number < list.length) location.href = `../${number}/`;
  };
  const move = (step) => go(list === null ? -1 : Number(list.dataset.number) + step);
  if (list !== null) {
    list.dataset.number = list.value;
    list.addEventListener("change", () => go(Number(list.value)));
    document.getElementById("previous").addEventListener("click", () => move(-1));
    document.getElementById("next").addEventListener("click", () => move(1));
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target === list) return;
    const step = {n: 1, p: -1}[event.key.toLowerCase()];
    if (step) move(step);
  });
}
