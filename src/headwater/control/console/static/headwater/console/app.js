/* The console's behaviour, by data- attributes alone: theme, copying, tabs, menus, dialogs, toasts. */
"use strict";

const TOAST_MILLISECONDS = 6000;

function chooseTheme(theme) {
  const year = 365 * 24 * 3600;
  document.cookie = `hw_theme=${theme}; path=/; max-age=${theme ? year : 0}; samesite=lax`;
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  showTheme();
}

function showTheme() {
  const theme = document.documentElement.dataset.theme || "";
  for (const button of document.querySelectorAll("[data-theme-set]")) {
    button.setAttribute("aria-pressed", String(button.dataset.themeSet === theme));
  }
}

async function copy(button) {
  const text = button.parentElement.querySelector("code").textContent;
  const label = button.querySelector("span");
  try {
    await navigator.clipboard.writeText(text);
    label.textContent = "Copied";
  } catch {
    // Without permission the text is selected, so that the keyboard can copy it.
    getSelection().selectAllChildren(button.parentElement.querySelector("code"));
    label.textContent = "Press Ctrl+C";
  }
  setTimeout(() => { label.textContent = "Copy"; }, 2000);
}

function chooseTab(tab, focus) {
  for (const list of document.querySelectorAll("[data-tabs]")) {
    const same = list.contains(tab) ? tab : list.querySelector(`[role="tab"][data-language="${CSS.escape(tab.dataset.language)}"]`);
    if (!same) continue;
    for (const other of list.querySelectorAll('[role="tab"]')) {
      const chosen = other === same;
      other.setAttribute("aria-selected", String(chosen));
      other.tabIndex = chosen ? 0 : -1;
      document.getElementById(other.getAttribute("aria-controls")).hidden = !chosen;
    }
  }
  if (focus) tab.focus();
}

function closeMenus(except) {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (menu !== except) menu.open = false;
  }
}

function watchToasts() {
  for (const toast of document.querySelectorAll("[data-toast]:not(.error, [data-watched])")) {
    toast.dataset.watched = "";
    setTimeout(() => { if (!toast.matches(":hover, :focus-within")) toast.remove(); }, TOAST_MILLISECONDS);
  }
}

document.addEventListener("click", (event) => {
  const at = (selector) => event.target.closest(selector);
  closeMenus(at("details.menu"));
  const theme = at("[data-theme-set]");
  if (theme) chooseTheme(theme.dataset.themeSet);
  const copied = at("[data-copy]");
  if (copied) copy(copied);
  const tab = at('[data-tabs] [role="tab"]');
  if (tab) chooseTab(tab, false);
  const opener = at("[data-open]");
  if (opener) document.getElementById(opener.dataset.open).showModal();
  if (at("[data-close]") || event.target.matches("dialog")) at("dialog").close();
  const toast = at("[data-close-toast]");
  if (toast) toast.closest("[data-toast]").remove();
});

document.addEventListener("keydown", (event) => {
  const menu = event.target.closest("details.menu[open]");
  if (event.key === "Escape" && menu) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
  const tab = event.target.closest('[data-tabs] [role="tab"]');
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (tab && step) {
    const tabs = [...tab.parentElement.children];
    chooseTab(tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length], true);
  }
  const typing = event.target.closest("input, textarea, select, dialog");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
    const search = document.getElementById("q");
    if (search) { event.preventDefault(); search.focus(); }
  }
});

document.addEventListener("htmx:afterSettle", watchToasts);
showTheme();
watchToasts();
