// Figures: drawn from the JSON beside them once Plotly is loaded.
const drawFigures = root => root.querySelectorAll("script[data-figure]").forEach(s => {
  const f = JSON.parse(s.textContent);
  Plotly.newPlot(s.dataset.figure, f.data, f.layout, {responsive: true, displaylogo: false, displayModeBar: matchMedia("(hover: none)").matches ? false : "hover"});
  const figure = document.getElementById(s.dataset.figure), opens = figure.closest("[data-opens]")?.dataset.opens;
  if (opens) figure.on("plotly_click", e => {   // a mark carries its moment
    const at = e.points.map(p => p.customdata).find(c => typeof c === "string");
    if (at) location.assign(opens.replace("AT", encodeURIComponent(at)));
  });
});
addEventListener("DOMContentLoaded", () => drawFigures(document));

// Parts that cost time are fetched when they are opened, once.
const fetchPart = async details => {
  if (details.dataset.fetched) return;
  details.dataset.fetched = "yes";
  const box = details.querySelector("div");
  try {
    const r = await fetch(details.dataset.part, {headers: {Accept: "text/html, application/problem+json"}});
    const isPart = r.ok;
    if (isPart) { box.innerHTML = await r.text(); drawFigures(box); return; }
    const type = r.headers.get("Content-Type") ?? "";
    const text = type.includes("json") ? (await r.json()).detail : new DOMParser().parseFromString(await r.text(), "text/html").querySelector("main p")?.textContent;
    box.innerHTML = '<p class="muted"></p>'; box.firstChild.textContent = text ?? `the server answered ${r.status}`;
  } catch { delete details.dataset.fetched; box.textContent = "The server does not answer now; close and open this to try again."; }
};
addEventListener("toggle", e => { if (e.target.open && e.target.dataset?.part) fetchPart(e.target); }, true);
addEventListener("DOMContentLoaded", () => document.querySelectorAll("details[data-part][open]").forEach(fetchPart));

// Reload when the store has changed; the browser keeps the place. Not while somebody is typing or deciding.
const isDeciding = () => [...document.querySelectorAll(".decide")].some(f => f.querySelector("[name=reason]").value || f.querySelector(".said").textContent);
setInterval(async () => {
  if (!document.body.dataset.state || document.hidden || isDeciding() || /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName)) return;
  try {
    const h = await (await fetch("/health")).json();
    if (document.body.dataset.state !== h.pulse) location.reload();
  } catch { /* the server does not answer now; ask again in ten seconds */ }
}, 10000);

// Tables: a heading that is a button sorts, and a search box filters.
addEventListener("click", e => {
  const b = e.target.closest("th button");
  if (!b) return;
  const th = b.parentElement, i = th.cellIndex, up = th.getAttribute("aria-sort") === "descending", body = th.closest("table").tBodies[0];
  const key = r => { const v = r.cells[i].dataset.value ?? r.cells[i].innerText, n = parseFloat(v); return isNaN(n) ? v.toLowerCase() : n; };
  th.parentElement.querySelectorAll("th").forEach(x => x.removeAttribute("aria-sort"));
  th.setAttribute("aria-sort", up ? "ascending" : "descending");
  const rank = (a, b) => typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? 1 : -1;   // text sorts before numbers
  body.append(...[...body.rows].sort((a, b) => (up ? 1 : -1) * rank(key(a), key(b))));
});
addEventListener("input", e => {
  const table = e.target.dataset?.filter && document.getElementById(e.target.dataset.filter);
  if (table) for (const r of table.tBodies[0].rows) r.hidden = !r.innerText.toLowerCase().includes(e.target.value.toLowerCase());
});

// A form that is sent before this script runs would put its fields, the token too, into the address.
addEventListener("DOMContentLoaded", () => document.querySelectorAll("[data-ready]").forEach(b => { b.disabled = false; }));

// Decisions: the token comes with the address (#token=…) and stays in this tab.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) { sessionStorage.setItem("token", given); history.replaceState(null, "", location.pathname + location.search); }
addEventListener("DOMContentLoaded", () => document.querySelectorAll("[name=token]").forEach(t => { t.value = sessionStorage.getItem("token") ?? ""; t.closest("label").hidden = !!t.value; }));
addEventListener("DOMContentLoaded", () => document.querySelectorAll(".decide [name=by]").forEach(b => { b.value ||= sessionStorage.getItem("by") ?? ""; }));

// The body of a verb: what is decided, by whom, and what the person saw.
const verbBody = (verb, form, f, confirmed) => {
  const d = form.dataset, body = {version: d.decide, by: f.get("by"), reason: f.get("reason")};
  if (["approve", "reject"].includes(verb) && d.request) body.request = Number(d.request);
  if (["challenge", "promote", "retire"].includes(verb)) body.expect_status = d.status;
  if (["challenge", "promote"].includes(verb)) body.expect_champion = d.champion;
  if (["approve", "promote"].includes(verb) && confirmed) body.confirm_worse = true;
  if (verb === "alias") body.alias = f.get("alias");
  if (verb === "rollback") { body.from_version = d.champion; if (d.status !== "champion") body.to = d.decide; }
  return body;
};
const postVerb = async (verb, form, body, token) => {
  const path = `/models/assets/${encodeURIComponent(form.dataset.model)}/${verb}`;
  const r = await fetch(path, {method: "POST", headers: {Authorization: `Bearer ${token}`, "Content-Type": "application/json"}, body: JSON.stringify(body)});
  if (r.ok) return;
  if (r.status === 401 || r.status === 403) { sessionStorage.removeItem("token"); form.querySelector("[name=token]").closest("label").hidden = false; }
  throw await r.json();
};
const askTwice = (form, verb, text) => {
  const second = form.querySelector(".second");
  second.querySelector("[data-second]").textContent = text;
  second.querySelector("[data-confirmed]").value = verb;
  second.hidden = false;
  second.querySelector("[data-confirmed]").focus();
};
addEventListener("click", e => { if (e.target.matches?.("[data-cancel]")) e.target.closest(".second").hidden = true; });
addEventListener("submit", async e => {
  const form = e.target;
  if (!form.dataset.decide) return;
  e.preventDefault();
  const f = new FormData(form, e.submitter), out = form.querySelector(".said"), token = f.get("token").trim(), verb = f.get("decision");
  const confirmed = "confirmed" in (e.submitter?.dataset ?? {}), decides = verb === "approve" || verb === "promote";
  out.textContent = "";
  if (decides && form.dataset.worse && !confirmed) { askTwice(form, verb, `${form.dataset.worse} Do it all the same?`); return; }
  form.querySelector(".second").hidden = true;
  sessionStorage.setItem("token", token); sessionStorage.setItem("by", f.get("by"));
  try {
    if (verb !== "approve" || !form.dataset.approved) await postVerb(verb, form, verbBody(verb, form, f, confirmed), token);
    if (verb === "approve") { form.dataset.approved = "yes"; await postVerb("promote", form, verbBody("promote", form, f, confirmed), token); }
    location.reload();
  } catch (problem) {
    if (problem.confirm && !confirmed) { askTwice(form, verb, `${problem.detail} Do it all the same?`); return; }
    out.textContent = problem.detail ?? "The server does not answer now; nothing was decided here."; out.className = "said failed";
    out.scrollIntoView({block: "nearest"});
  }
});

// A server beyond loopback: the token becomes a cookie that opens pages.
const logIn = async token => {
  const r = await fetch("/login", {method: "POST", headers: {Authorization: `Bearer ${token}`}});
  if (!r.ok) { sessionStorage.removeItem("token"); return false; }
  sessionStorage.setItem("token", token);
  location.reload();
  return true;
};
addEventListener("DOMContentLoaded", () => {
  const known = sessionStorage.getItem("token");
  if (known && document.querySelector("form[data-login]")) logIn(known);
});
addEventListener("submit", async e => {
  const form = e.target;
  if (!form.dataset.login) return;
  e.preventDefault();
  if (!await logIn(new FormData(form).get("login").trim())) form.querySelector("[role=status]").textContent = "this token is not known, or was revoked";
});

// Feedback on an alert, in one click.
addEventListener("submit", async e => {
  const form = e.target;
  if (!form.dataset.alert) return;
  e.preventDefault();
  const f = new FormData(form, e.submitter), token = form.querySelector("[name=token]"), q = new URLSearchParams({by: "page"});
  if (f.get("says")) q.set("says", f.get("says")); else q.set("snooze_hours", f.get("snooze"));
  const r = await fetch(`/alerts/${form.dataset.alert}/feedback?${q}`, {method: "POST", headers: {Authorization: `Bearer ${token.value.trim()}`}});
  if (r.ok) { sessionStorage.setItem("token", token.value.trim()); location.reload(); return; }
  if (r.status === 401 || r.status === 403) token.closest("label").hidden = false;
  form.querySelector("[role=status]").textContent = (await r.json()).detail;
});

// Which coin a product is.
addEventListener("submit", async e => {
  const form = e.target;
  if (!form.dataset.product) return;
  e.preventDefault();
  const f = new FormData(form), token = f.get("token").trim(), out = form.querySelector(".said");
  const body = {coin: f.get("coin"), by: f.get("by"), reason: f.get("reason")};
  let r;
  try {
    r = await fetch(`/products/${encodeURIComponent(form.dataset.product)}`, {method: "POST", headers: {Authorization: `Bearer ${token}`, "Content-Type": "application/json"}, body: JSON.stringify(body)});
  } catch { out.textContent = "The server does not answer now; nothing was decided."; return; }
  if (r.ok) { sessionStorage.setItem("token", token); sessionStorage.setItem("by", body.by); location.reload(); return; }
  if (r.status === 401 || r.status === 403) { sessionStorage.removeItem("token"); form.querySelector("[name=token]").closest("label").hidden = false; }
  out.textContent = (await r.json()).detail; out.className = "said failed";
});

// Live trades: the numbers, the figure and the alarms follow every two seconds.
addEventListener("DOMContentLoaded", () => {
  const live = document.getElementById("live");
  if (!live) return;
  const at = k => live.querySelector(`[data-live=${k}]`), put = (k, v) => { if (at(k).textContent !== v) at(k).textContent = v; };
  const digits = (x, n) => x == null ? "–" : x.toFixed(n), cell = (row, text, kind) => { const td = row.insertCell(); td.className = kind ?? ""; td.textContent = text; return td; };
  const symbol = {pump: "triangle-up", dump: "triangle-down"};
  setInterval(async () => {
    if (document.hidden) return;
    let d;
    try { d = await (await fetch(`/demo/data?product=${encodeURIComponent(live.dataset.product)}`)).json(); } catch { return; }   // the server does not answer now
    if (!d.prices) return;
    put("state", d.state); at("state").className = `pill ${{Anomaly: "anomaly", Normal: "champion"}[d.state] ?? "warning"}`;
    put("reason", d.reason); put("as_of", (d.as_of ?? "").slice(0, 19).replace("T", " ")); put("model", d.model ?? "no model yet: crypto-anomaly run train_trades"); put("note", d.note); put("trained_on", d.trained_on.length ? `, learned from ${d.trained_on.join(", ")}` : "");
    const last = d.prices.at(-1); put("price", last == null ? "–" : `$${last.toLocaleString("en", {maximumSignificantDigits: 8})}`);
    put("score", digits(d.score, 3)); put("p_value", digits(d.p_value, 4)); put("pump", digits(d.pump, 1)); put("dump", digits(d.dump, 1)); put("pump_from", String(d.pump_from)); put("dump_from", String(d.dump_from));
    const seen = d.alarms.filter(a => a.ts >= (d.times[0] ?? "")), figure = document.getElementById("prices");
    if (figure) Plotly.update(figure, {x: [d.times, seen.map(a => a.ts)], y: [d.prices, seen.map(a => a.price)], text: [undefined, seen.map(a => a.kind)], "marker.symbol": [undefined, seen.map(a => symbol[a.kind] ?? "diamond")]});
    at("alarms").replaceChildren(...d.alarms.map(a => {
      const row = document.createElement("tr");
      cell(row, a.ts.slice(0, 19)); const pill = document.createElement("span"); pill.className = "pill anomaly"; pill.textContent = a.kind; cell(row, "").append(pill);
      cell(row, a.score.toFixed(2), "num"); cell(row, a.reason); return row;
    }));
  }, 2000);
});

// A reloaded page keeps its sorting, filters, open details and position.
const KEY = `place:${location.pathname}`;
addEventListener("pagehide", () => {
  const heads = [...document.querySelectorAll("th[aria-sort]")].map(th => [[...document.querySelectorAll("th")].indexOf(th), th.getAttribute("aria-sort")]);
  const filters = [...document.querySelectorAll("[data-filter]")].map(i => i.value), open = [...document.querySelectorAll("details")].map(x => x.open);
  sessionStorage.setItem(KEY, JSON.stringify({heads, filters, open, y: scrollY, search: location.search}));
});
addEventListener("load", () => {
  const s = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  if (!s || s.search !== location.search || performance.getEntriesByType("navigation")[0]?.type !== "reload") return;
  document.querySelectorAll("details").forEach((x, i) => { x.open = s.open[i] ?? x.open; });
  s.heads.forEach(([i, way]) => { const th = document.querySelectorAll("th")[i], b = th?.querySelector("button"); for (let k = 0; b && k < 2 && th.getAttribute("aria-sort") !== way; k++) b.click(); });
  document.querySelectorAll("[data-filter]").forEach((x, i) => { if (s.filters[i]) { x.value = s.filters[i]; x.dispatchEvent(new Event("input", {bubbles: true})); } });
  scrollTo(0, s.y);
});

// Commands are copied with a click.
addEventListener("click", async e => {
  const b = e.target.closest("button[data-copy]");
  if (!b) return;
  await navigator.clipboard?.writeText(b.dataset.copy);
  const was = b.textContent; b.textContent = "copied"; setTimeout(() => { b.textContent = was; }, 1200);
});
