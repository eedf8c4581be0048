"use strict";
/* The figures of `kmask variance`: the ratio of variances by K, covariance against Hamming distance, and its distribution.
 * Uses what page.html's own script has: COLORS, node, chartText, has, digits, ticks, dot. */
{
  const variances = JSON.parse(document.getElementById("variance-data").textContent);
  const shortName = name => String(name).split("/").slice(-1)[0] || String(name);
  const manyFiles = variances.length > 1, several = v => v.models && v.models.length > 1;
  const labelOf = (v, model) => [manyFiles ? shortName(v.name) : "", several(v) || !manyFiles ? shortName(model) : ""]
    .filter(part => part).join(" ");
  const modelsOf = v => [...new Set(v.estimates.map(e => e.model))];

  function card(title, note, wide) {
    const figure = node("div", { class: "figure" });
    $("variances").append(node("div", { class: "card chart" + (wide ? " wide" : "") },
      node("h2", {}, title, node("small", {}, note)), figure));
    return figure;
  }

  /* Series of points with error bars: [{name, color, dash, points: [{x, y, low, high, title}]}] */
  function errorBars(into, series, { xLabel, xTicks, line }) {
    const width = Math.max(260, into.clientWidth), height = 260, pad = { left: 62, right: 16, top: 10, bottom: 40 };
    const all = series.flatMap(s => s.points), xs = all.map(p => p.x);
    const ys = [...all.flatMap(p => [p.y, p.low, p.high]), line].filter(has);
    let x0 = Math.min(...xs), x1 = Math.max(...xs), y0 = Math.min(...ys), y1 = Math.max(...ys);
    const roomX = (x1 - x0 || 1) * 0.05, roomY = (y1 - y0 || 1) * 0.06;
    x0 -= roomX; x1 += roomX; y0 -= roomY; y1 += roomY;
    const sx = x => pad.left + (x - x0) / (x1 - x0) * (width - pad.left - pad.right);
    const sy = y => height - pad.bottom - (y - y0) / (y1 - y0) * (height - pad.top - pad.bottom);
    const svg = [];
    for (const t of ticks(y0, y1, 5)) {
      svg.push(node("path", { d: `M${pad.left} ${sy(t)}H${width - pad.right}`, stroke: "var(--grid)" }),
        chartText(pad.left - 8, sy(t), "end", digits(t, 3), { dy: ".35em" }));
    }
    for (const t of xTicks || ticks(x0, x1, 6)) {
      svg.push(node("path", { d: `M${sx(t)} ${height - pad.bottom}v4`, stroke: "var(--axis)" }),
        chartText(sx(t), height - pad.bottom + 17, "middle", digits(t, 4)));
    }
    svg.push(node("path", { d: `M${pad.left} ${sy(line)}H${width - pad.right}`, stroke: "var(--axis)", "stroke-dasharray": "4 3" }),
      chartText(width - pad.right, height - 6, "end", xLabel));
    series.forEach((s, i) => {
      const shift = (i - (series.length - 1) / 2) * Math.min(5, 40 / series.length); /* bars of one x stand side by side */
      const at = p => sx(p.x) + shift;
      svg.push(node("path", { d: s.points.map((p, k) => (k ? "L" : "M") + at(p) + " " + sy(p.y)).join(""), fill: "none",
        stroke: s.color, "stroke-width": 1.5, "stroke-dasharray": s.dash || "" }));
      for (const p of s.points) {
        if (has(p.low) && has(p.high)) {
          svg.push(node("path", { stroke: s.color,
            d: `M${at(p)} ${sy(p.low)}V${sy(p.high)}M${at(p) - 3} ${sy(p.low)}h6M${at(p) - 3} ${sy(p.high)}h6` }));
        }
        svg.push(node("circle", { cx: at(p), cy: sy(p.y), r: 3.4, fill: "var(--card)", stroke: s.color, "stroke-width": 1.6 },
          node("title", {}, p.title)));
      }
    });
    const legend = series.map(s => node("span", { class: "group" }, dot(s), s.name));
    into.replaceChildren(node("svg", { viewBox: `0 0 ${width} ${height}`, height }, svg), node("div", { class: "chips" }, legend));
  }

  const interval = (y, low, high) => `${digits(y, 4)} (${digits(low, 4)} to ${digits(high, 4)})`;

  function ratios() {
    const series = [];
    for (const v of variances) {
      for (const r of v.ratios || []) {
        const name = `${labelOf(v, r.model)} ${r.policy ? r.policy + " " : ""}${r.unit}`.trim();
        let s = series.find(other => other.name === name);
        if (!s) series.push(s = { name, points: [], color: COLORS[series.length % COLORS.length], dash: "" });
        if (has(r.ratio)) s.points.push({ x: r.splits, y: r.ratio, low: r.ratio_low, high: r.ratio_high,
          title: `${name}, K = ${r.splits}: ${interval(r.ratio, r.ratio_low, r.ratio_high)}` });
      }
    }
    const shown = series.filter(s => s.points.length);
    if (!shown.length) return;
    const ks = [...new Set(shown.flatMap(s => s.points.map(p => p.x)))].sort((a, b) => a - b);
    errorBars(card("Var(fully explored) / Var(random)", "below 1: disjoint masks, or those of the policy that is named, give the steadier gradient; 95 % intervals", false),
      shown, { xLabel: "K, masks of a row", xTicks: ks, line: 1 });
  }

  function curve() {
    const series = [];
    for (const v of variances) {
      for (const model of [...new Set(v.distance.map(p => p.model))]) {
        const points = v.distance.filter(p => p.model === model), zero = points.find(p => p.h === 0);
        const unit = zero && zero.cov > 0 ? zero.cov : 1;
        if (!points.length) continue;
        series.push({ name: labelOf(v, model), color: COLORS[series.length % COLORS.length], dash: "",
          points: points.map(p => ({ x: p.h, y: p.cov / unit, low: p.cov_low / unit, high: p.cov_high / unit,
            title: `h = ${digits(p.h, 4)}: ${interval(p.cov, p.cov_low, p.cov_high)}, ${p.pairs} pairs` })) });
      }
    }
    if (!series.length) return;
    errorBars(card("Covariance against Hamming distance", "of the gradients of two masks; divided by the one at distance 0; 95 % intervals", false),
      series, { xLabel: "Hamming distance", line: 0 });
  }

  /* One stripe a distance: how the products of all its pairs are distributed. */
  function drawHistograms(into, list) {
    const width = Math.max(260, into.clientWidth), stripe = 46, pad = { left: 62, right: 16, top: 24, bottom: 30 };
    const height = pad.top + pad.bottom + stripe * list.length, low = list[0].low, high = list[0].high;
    const sx = x => pad.left + (x - low) / (high - low || 1) * (width - pad.left - pad.right);
    const svg = [];
    for (const t of ticks(low, high, 5)) {
      svg.push(node("path", { d: `M${sx(t)} ${pad.top - 10}V${height - pad.bottom}`, stroke: "var(--grid)" }),
        chartText(sx(t), height - pad.bottom + 17, "middle", digits(t, 3)));
    }
    if (low < 0 && high > 0) {
      svg.push(node("path", { d: `M${sx(0)} ${pad.top - 10}V${height - pad.bottom}`, stroke: "var(--axis)", "stroke-dasharray": "4 3" }));
    }
    list.forEach((h, i) => {
      const base = pad.top + stripe * (i + 1) - 6, most = Math.max(...h.counts, 1), bins = h.counts.length;
      const total = h.counts.reduce((a, b) => a + b, 0), bin = (width - pad.left - pad.right) / bins;
      let d = `M${pad.left} ${base}`;
      h.counts.forEach((n, b) => { const y = base - n / most * (stripe - 10); d += `L${pad.left + b * bin} ${y}H${pad.left + (b + 1) * bin}`; });
      svg.push(node("path", { d: `${d}V${base}Z`, fill: COLORS[0], opacity: ".55" }, node("title", {}, `h = ${digits(h.h, 4)}, ${total} pairs`)),
        node("path", { d: `M${pad.left} ${base}H${width - pad.right}`, stroke: "var(--line)" }),
        chartText(pad.left - 8, base, "end", "h " + digits(h.h, 4)));
    });
    into.replaceChildren(node("svg", { viewBox: `0 0 ${width} ${height}`, height }, svg));
  }

  function histograms(v, model) {
    const all = (v.histograms || []).filter(h => h.model === model);
    if (!all.length) return;
    const tensors = [...new Set(all.map(h => h.tensor))];
    const into = card(`Gradient covariance by distance: ${labelOf(v, model)}`, "distribution over mask pairs", modelsOf(v).length === 1 && !manyFiles);
    const select = node("select", {}, tensors.map(t => node("option", {}, t))), area = node("div");
    into.replaceChildren(node("label", { class: "group" }, "tensor ", select), area);
    const redrawOne = () => drawHistograms(area, all.filter(h => h.tensor === tensors[select.selectedIndex]));
    select.addEventListener("change", redrawOne);
    redrawOne();
  }

  if (variances.length) {
    ratios();
    curve();
    for (const v of variances) modelsOf(v).forEach(model => histograms(v, model));
  }
}
