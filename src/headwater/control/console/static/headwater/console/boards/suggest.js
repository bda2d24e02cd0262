/* Sensible defaults: how an answer with these columns is best shown, and what its parameters should follow. */

const RANGES = [["first", "last"], ["from", "to"], ["since", "until"], ["start", "end"], ["from_day", "to_day"]];
const TAKES = {
  string: ["string"], integer: ["integer", "number", "decimal"], number: ["number", "decimal"], boolean: ["boolean"],
  date: ["date", "timestamp"], time_range: ["date", "timestamp"],
};

export function suggestKind(columns) {
  const of = (kind) => columns.filter((column) => column.kind === kind);
  const [times, names, numbers] = [of("temporal"), of("nominal"), of("quantitative")];
  if (times.length && numbers.length) return "line";
  if (names.length && numbers.length) return "bar";
  if (numbers.length === 1 && columns.length === 1) return "number";
  return numbers.length >= 2 && !names.length ? "point" : "table";
}

export function suggestPlot(mark, columns) {
  const of = (kind) => columns.filter((column) => column.kind === kind).map((column) => column.name);
  const [times, names, numbers] = [of("temporal"), of("nominal"), of("quantitative")];
  const used = [];
  const take = (...lists) => {
    const found = lists.flat().find((name) => !used.includes(name));
    if (found) used.push(found);
    return found || columns[0]?.name || "";
  };
  if (mark === "heatmap") {
    const y = take(names, times), colour = numbers.at(-1) || take(numbers);
    used.push(colour);
    return { mark, x: take(numbers, times, names), y, colour };
  }
  if (mark === "point") return { mark, x: take(numbers, times), y: take(numbers), ...(names.length ? { colour: names[0] } : {}) };
  const x = take(times, names, numbers), y = take(numbers.filter((name) => name !== x));
  const rest = times.length && names.length ? { colour: names[0] } : {};
  return { mark, x, y, ...rest };
}

/* Filters that a parameter could follow: what they are called in the choice, and the reference. */
export function followable(parameter, filters) {
  return filters.filter((item) => TAKES[item.type || "string"]?.includes(parameter.type)).flatMap((item) => {
    const label = item.label || item.name;
    if (item.type !== "time_range") return [{ label: `filter “${label}”`, value: item.name }];
    return [{ label: `filter “${label}”, its beginning`, value: `${item.name}.from` }, { label: `filter “${label}”, its end`, value: `${item.name}.to` }];
  });
}

/* What a parameter follows without being told: a filter of its name, or the end of a range that its name says. */
export function suggestBinding(parameter, filters) {
  if (parameter.list) return undefined;
  const same = filters.find((item) => item.name === parameter.name && TAKES[item.type || "string"]?.includes(parameter.type));
  if (same && same.type !== "time_range") return { filter: same.name };
  const range = filters.find((item) => item.type === "time_range");
  const pair = RANGES.find((names) => names.includes(parameter.name));
  if (range && pair && TAKES.time_range.includes(parameter.type)) return { filter: `${range.name}.${parameter.name === pair[0] ? "from" : "to"}` };
  return undefined;
}

/* The filter that would be made for a parameter. */
export function newFilter(parameter) {
  const pair = RANGES.find((names) => names.includes(parameter.name));
  if (pair && TAKES.time_range.includes(parameter.type)) {
    return { filter: { name: "period", label: "Period", type: "time_range", default: "last 30 days" }, end: parameter.name === pair[0] ? "from" : "to" };
  }
  const type = { decimal: "number", timestamp: "date" }[parameter.type] || parameter.type;
  const values = parameter.values.length ? { values: parameter.values } : {};
  const chosen = parameter.default ?? (parameter.required ? parameter.values[0] : undefined);
  const label = parameter.name.replaceAll("_", " ");
  return { filter: { name: nameFrom(parameter.name), label: label[0].toUpperCase() + label.slice(1), type, ...values, ...(chosen === undefined || chosen === null ? {} : { default: chosen }) }, end: "" };
}

export function nameFrom(text, taken = []) {
  const plain = text.normalize("NFKD").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^[^a-z]+|-+$/g, "").slice(0, 50) || "tile";
  let name = plain;
  for (let at = 2; taken.includes(name); at += 1) name = `${plain}-${at}`;
  return name;
}
