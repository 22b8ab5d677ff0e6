// Three things only: plots take their colours from the style sheet, samples show the two chosen steps, and prompts are
// searched and put in order.
"use strict";
(() => {
  const COLOURS = ["line_color", "fill_color", "hatch_color", "grid_line_color", "axis_label_text_color",
    "major_label_text_color"];
  const BACKS = { hollow: "fill_color", hatched: "hatch_color" };

  function paint() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    for (const drawn of Bokeh.documents) {
      for (const model of drawn._all_models.values()) {
        const tone = model.tags.find((tag) => String(tag).startsWith("tone:"));
        if (tone === undefined) continue;
        const changed = {};
        for (const name of COLOURS) {
          if (name in model.properties) changed[name] = colour(tone.slice(5));
        }
        for (const tag of model.tags) {
          if (BACKS[tag] in changed) changed[BACKS[tag]] = colour("surface");
        }
        model.setv(changed);
      }
    }
  }

  function choose(select) {
    const browser = select.closest(".samples");
    const side = select.dataset.choose;
    for (const heading of browser.querySelectorAll(`[data-name="${side}"]`)) {
      heading.textContent = select.selectedOptions[0].textContent.replace("s", "S");
    }
    for (const holder of browser.querySelectorAll(`[data-side="${side}"]`)) {
      for (const shown of holder.querySelectorAll(".text")) {
        const template = document.createElement("template");
        template.dataset.step = shown.dataset.step;
        shown.replaceWith(template);
        template.content.append(shown);
      }
      const wanted = holder.querySelector(`template[data-step="${CSS.escape(select.value)}"]`);
      if (wanted) wanted.replaceWith(wanted.content);
    }
  }

  const AT_ONCE = 8;
  const ORDERS = {
    given: (item) => Number(item.dataset.at),
    fell: (item) => Number(item.dataset.change ?? Infinity),
    rose: (item) => -Number(item.dataset.change ?? -Infinity),
    least: (item) => Number(item.dataset.margin ?? Infinity),
    most: (item) => -Number(item.dataset.margin ?? -Infinity),
  };

  function browse(browser) {
    const items = [...browser.querySelectorAll(".sample")];
    const field = browser.querySelector("[data-search]");
    const order = browser.querySelector("[data-order]");
    const count = browser.querySelector("[data-count]");
    const more = browser.querySelector("[data-more]");
    let sorted = items;
    let most = AT_ONCE;

    function show() {
      const wanted = field.value.toLocaleLowerCase();
      const found = sorted.filter((item) => item.textContent.toLocaleLowerCase().includes(wanted));
      const shown = new Set(found.slice(0, most));
      for (const item of items) item.hidden = !shown.has(item);
      const of = wanted ? `${found.length} found in ${items.length}` : `${items.length}`;
      count.textContent = `${shown.size} shown of ${of} prompts`;
      more.hidden = found.length <= most;
    }

    field.addEventListener("input", () => { most = AT_ONCE; show(); });
    order?.addEventListener("change", () => {
      const key = ORDERS[order.value];
      sorted = [...items].sort((one, other) => key(one) - key(other) || ORDERS.given(one) - ORDERS.given(other));
      more.before(...sorted);
      show();
    });
    more.addEventListener("click", () => {
      const next = sorted.filter((item) => !item.hidden).length;
      most += AT_ONCE;
      show();
      sorted.filter((item) => !item.hidden)[next]?.querySelector("[tabindex]").focus();
    });
    show();
  }

  function unfold() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let part = target; part; part = part.parentElement) {
      if (part instanceof HTMLDetailsElement) part.open = true;
    }
  }

  for (const browser of document.querySelectorAll(".samples")) browse(browser);
  for (const select of document.querySelectorAll("select[data-choose]")) {
    select.addEventListener("change", () => choose(select));
  }
  addEventListener("hashchange", unfold);
  if (window.Bokeh) {
    const whenDrawn = () => (Bokeh.documents.length ? paint() : requestAnimationFrame(whenDrawn));
    whenDrawn();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  }
})();
