/* The dialog of one filter. */

import { nameFrom } from "./suggest.js";

const HELP = {
  time_range: ["Such as: last 7 days, this month, 2026-01-01/2026-03-31. None: the usual ones.", "Such as: last 30 days."],
  boolean: ["None: true and false.", "true or false."],
};
const USUAL = ["What can be chosen, with commas between. None: anything can be typed.", "Without it nothing is chosen, and the parameter is left out."];

export class FilterDialog {
  constructor(builder, dialog) {
    Object.assign(this, { builder, dialog, form: dialog.querySelector("form"), before: null });
    const find = (name) => dialog.querySelector(`[data-${name}]`);
    Object.assign(this, { label: find("label"), type: find("type"), values: find("values"), chosen: find("default"), problem: find("filter-problem"), helps: [find("values-help"), find("default-help")] });
    this.type.addEventListener("change", () => this.explain());
    this.form.addEventListener("submit", (event) => { event.preventDefault(); this.accept(); });
  }

  open(item) {
    this.before = item;
    this.problem.textContent = "";
    this.label.value = item?.label || item?.name || "";
    this.type.value = item?.type || "string";
    this.values.value = (item?.values || []).join(", ");
    this.chosen.value = item?.default ?? "";
    this.explain();
    this.dialog.showModal();
    this.label.focus();
  }

  explain() {
    const words = HELP[this.type.value] || USUAL;
    this.helps.forEach((help, at) => { help.textContent = words[at]; });
  }

  accept() {
    const label = this.label.value.trim();
    if (!label) { this.problem.textContent = "Give it a label, such as Airport."; this.label.focus(); return; }
    const type = this.type.value;
    const typed = (text) => {
      if (type === "boolean") return text === "true";
      return (type === "integer" || type === "number") && text !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
    };
    const values = this.values.value.split(",").map((text) => text.trim()).filter(Boolean).map(typed);
    const others = this.builder.spec.filters.filter((other) => other !== this.before).map((other) => other.name);
    const item = { name: this.before?.name || nameFrom(label, others), label, type };
    if (values.length) item.values = values;
    if (this.chosen.value.trim()) item.default = typed(this.chosen.value.trim());
    this.dialog.close();
    this.builder.keepFilter(this.before, item);
  }
}
