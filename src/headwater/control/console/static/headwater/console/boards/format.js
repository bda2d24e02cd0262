/* Numbers and times as dashboards show them: the same as the server's images do. */

const SHORT = [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]];
const WHOLE = 1e15;
const PARTS = /^(,?)(?:\.([0-9]))?([fd%s]?)$/;
export const ABSENT = "–";

function fixed(value, digits, comma) {
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: comma });
}

function plain(value) {
  if (Number.isInteger(value) && Math.abs(value) < WHOLE) return value.toLocaleString("en");
  return Math.abs(value) >= 1 ? fixed(value, 2, true) : String(Number(value.toPrecision(4)));
}

export function formatNumber(value, form) {
  if (value === null || value === undefined) return ABSENT;
  if (typeof value !== "number" || !Number.isFinite(value)) return String(value);
  const parts = form ? PARTS.exec(form) : null;
  if (!parts) return plain(value);
  const comma = parts[1] === ",", digits = parts[2] === undefined ? null : Number(parts[2]);
  if (parts[3] === "%") return `${fixed(value * 100, digits ?? 0, comma)}%`;
  if (parts[3] === "d") return fixed(Math.round(value), 0, comma);
  if (parts[3] === "s") {
    const found = SHORT.find(([size]) => Math.abs(value) >= size);
    return found ? `${fixed(value / found[0], digits ?? 1, false)}${found[1]}` : fixed(value, digits ?? 0, false);
  }
  return fixed(value, digits ?? 2, comma);
}

export function formatValue(value, column, forms) {
  if (value === null || value === undefined) return ABSENT;
  if (column.kind === "quantitative") return formatNumber(value, (forms || {})[column.name] || "");
  if (column.kind === "temporal" && typeof value === "string") {
    return column.type.startsWith("DATE") && !column.type.startsWith("DATETIME") ? value.slice(0, 10) : value.slice(0, 19).replace("T", " ");
  }
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

export function titleOf(name, titles) {
  return (titles || {})[name] || name.replaceAll("_", " ");
}
