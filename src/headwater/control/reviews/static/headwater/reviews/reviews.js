/* Reviewing by keyboard: j and k move, c takes a task, 1 to 9 choose a verdict, Enter decides, u gives back. */
"use strict";

// htmx would carry style attributes over from what it replaces, which the page's policy refuses.
if (window.htmx) htmx.config.attributesToSettle = ["class"];

const WARNING_SECONDS = 60;
let lastTouch = 0;
let isRenewing = false;
let warned = false;

const work = () => document.getElementById("work");
const isTyping = (target) => target.closest("input:not([type=radio]), textarea, select, dialog, summary");

function step(direction) {
  const links = [...document.querySelectorAll("[data-steps] [data-step]")];
  const at = links.indexOf(document.activeElement);
  const next = links[Math.min(Math.max(at + direction, 0), links.length - 1)];
  if (next) next.focus();
}

function showParts() {
  const form = document.querySelector("[data-decide]");
  if (!form) return;
  const chosen = form.querySelector("[name=verdict]:checked");
  for (const part of form.querySelectorAll("[data-part]")) {
    part.hidden = !chosen || chosen.dataset.asks !== part.dataset.part;
  }
}

function press(key) {
  const target = document.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (!target) return false;
  if (target.type === "radio") {
    target.checked = true;
    target.focus();
    showParts();
  } else {
    target.click();
  }
  return true;
}

document.addEventListener("keydown", (event) => {
  lastTouch = Date.now();
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && isTyping(event.target)) { event.target.blur(); return; }
  if (isTyping(event.target)) return;
  if (event.key === "j" || event.key === "k") { event.preventDefault(); step(event.key === "j" ? 1 : -1); return; }
  if (event.key === "Enter" && !event.target.closest("a, button")) {
    const form = document.querySelector("[data-decide]");
    if (form) { event.preventDefault(); form.requestSubmit(); }
    return;
  }
  if (/^[1-9cu]$/.test(event.key) && press(event.key)) event.preventDefault();
});
document.addEventListener("pointerdown", () => { lastTouch = Date.now(); });
document.addEventListener("change", showParts);

async function renew(panel) {
  isRenewing = true;
  const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
  try {
    const reply = await fetch(panel.dataset.renew, { method: "POST", headers: { "X-CSRFToken": token } });
    if (reply.ok) panel.dataset.lease = (await reply.json()).lease_expires_at;
  } catch { /* the countdown goes on, and the next second tries again */ } finally {
    isRenewing = false;
  }
}

function tick() {
  const panel = work();
  const shown = panel && panel.querySelector("[data-countdown]");
  if (!shown || !panel.dataset.lease) return;
  const left = Math.round((new Date(panel.dataset.lease) - Date.now()) / 1000);
  const warning = panel.querySelector("[data-warning]");
  panel.dataset.whole = Math.max(Number(panel.dataset.whole || 0), left);
  if (left <= 0) {
    shown.textContent = "lease over";
    warning.textContent = "Your lease is over. Take the task again to decide it.";
    return;
  }
  shown.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
  panel.querySelector(".lease").toggleAttribute("data-soon", left < WARNING_SECONDS);
  if (left < WARNING_SECONDS && !warned) { warned = true; warning.textContent = "Less than a minute of your lease is left."; }
  if (left >= WARNING_SECONDS) { warned = false; warning.textContent = ""; }
  const isActive = Date.now() - lastTouch < 60000;
  if (isActive && left < Number(panel.dataset.whole) / 2 && !isRenewing) renew(panel);
}

document.addEventListener("htmx:beforeSwap", (event) => {
  // What was wrong with a decision is shown in the form, not thrown away.
  if (event.detail.xhr.status >= 400 && event.detail.target === work()) {
    event.detail.shouldSwap = true;
    event.detail.isError = false;
  }
});
document.addEventListener("htmx:afterSettle", () => {
  showParts();
  tick();
  const first = document.querySelector("[data-decide] [aria-invalid], [data-decide] [name=verdict]");
  if (first) first.focus();
});
setInterval(tick, 1000);
showParts();
tick();
