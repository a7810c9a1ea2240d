"use strict";
// Curves: the pointer shows the values of the nearest step.
for (const chart of document.querySelectorAll(".chart[data-values]")) {
  const values = JSON.parse(chart.dataset.values), svg = chart.querySelector("svg"), tip = chart.querySelector(".tip"), rule = chart.querySelector(".at");
  const hide = () => { tip.style.display = "none"; rule.style.visibility = "hidden"; };
  const show = (event) => {
    const box = svg.getBoundingClientRect(), scale = box.width / svg.viewBox.baseVal.width, x = (event.clientX - box.left) / scale;
    let best = 0;
    values.at.forEach((at, index) => { if (Math.abs(at - x) < Math.abs(values.at[best] - x)) best = index; });
    rule.setAttribute("x1", values.at[best]); rule.setAttribute("x2", values.at[best]); rule.style.visibility = "visible";
    const lines = Object.entries(values.lines).filter(([, points]) => points[best] !== "").map(([name, points]) => name + "  " + points[best]);
    tip.replaceChildren(...["step " + values.step[best], ...lines].map((text) => { const row = document.createElement("div"); row.textContent = text; return row; }));
    tip.style.display = "block"; tip.style.top = svg.offsetTop + 4 + "px";
    const left = values.at[best] * scale + 10;
    tip.style.left = (left + tip.offsetWidth > box.width ? Math.max(0, left - 20 - tip.offsetWidth) : left) + "px";
  };
  svg.addEventListener("pointermove", show); svg.addEventListener("pointerdown", show); svg.addEventListener("pointerleave", hide);
}
// Cases: one at a time, with filters and the arrow keys.
for (const viewer of document.querySelectorAll(".cases")) {
  const cases = [...viewer.querySelectorAll(".case")], filters = [...viewer.querySelectorAll("select")];
  const [back, next] = viewer.querySelectorAll("button"), count = viewer.querySelector(".count");
  let shown = cases, at = 0;
  const show = () => {
    cases.forEach((one) => one.classList.toggle("off", one !== shown[at]));
    count.textContent = shown.length ? at + 1 + " of " + shown.length : "no such case";
    back.disabled = at === 0; next.disabled = at + 1 >= shown.length;
  };
  const move = (by) => { at = Math.min(Math.max(at + by, 0), Math.max(shown.length - 1, 0)); show(); };
  const filter = () => {
    shown = cases.filter((one) => { const facts = JSON.parse(one.dataset.facts); return filters.every((select) => !select.value || facts[select.name].includes(select.value)); });
    at = 0; show();
  };
  filters.forEach((select) => select.addEventListener("change", filter));
  back.addEventListener("click", () => move(-1)); next.addEventListener("click", () => move(1));
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") { move(event.key === "ArrowRight" ? 1 : -1); event.preventDefault(); }
  });
  if (cases.length) { viewer.classList.add("viewer"); filter(); }
}
// Paper shows what is folded.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
