/* Charts in the colours of the page: read from its custom properties, so that light, dark and a choice all hold. */

function colours(names) {
  // A custom property with light-dark() is resolved only where it is used as a colour.
  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);
  const found = {};
  for (const name of names) {
    probe.style.color = `var(--${name})`;
    found[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return found;
}

export function chartConfig() {
  const c = colours(["text", "muted", "line", "line-strong", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "heat-low", "heat-mid", "heat-high"]);
  const font = getComputedStyle(document.body).fontFamily;
  const heat = [c["heat-low"], c["heat-mid"], c["heat-high"]];
  return {
    background: "transparent",
    font,
    view: { stroke: "transparent" },
    padding: 2,
    range: { category: ["c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"].map((name) => c[name]), heatmap: heat, ramp: heat, ordinal: heat },
    mark: { color: c.c1 },
    text: { color: c.text },
    rule: { color: c.muted },
    axis: {
      labelColor: c.muted, titleColor: c.muted, titleFontWeight: 400, labelFontSize: 11, titleFontSize: 11, titlePadding: 8,
      gridColor: c.line, domainColor: c["line-strong"], tickColor: c["line-strong"], tickSize: 4, labelPadding: 4,
    },
    axisY: { domain: false, ticks: false },
    axisBand: { grid: false },
    legend: { labelColor: c.muted, titleColor: c.muted, titleFontWeight: 400, labelFontSize: 11, titleFontSize: 11, symbolSize: 80, offset: 8 },
    title: { color: c.text, fontSize: 13, fontWeight: 600, anchor: "start" },
  };
}

export function onThemeChange(call) {
  new MutationObserver(call).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", call);
}
