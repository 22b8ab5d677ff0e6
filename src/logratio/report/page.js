// Two things only: curves take their colours from the style sheet, and samples show the two chosen steps.
"use strict";
(() => {
  const COLOURS = ["line_color", "fill_color", "hatch_color", "grid_line_color", "axis_label_text_color",
    "major_label_text_color"];

  function paint() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    for (const drawn of Bokeh.documents) {
      for (const model of drawn._all_models.values()) {
        const tone = model.tags.find((tag) => String(tag).startsWith("tone:"));
        if (tone === undefined) continue;
        const hollow = model.tags.includes("hollow");
        const changed = {};
        for (const name of COLOURS) {
          if (!(name in model.properties)) continue;
          changed[name] = colour(hollow && name === "fill_color" ? "surface" : tone.slice(5));
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

  for (const select of document.querySelectorAll("select[data-choose]")) {
    select.addEventListener("change", () => choose(select));
  }
  if (window.Bokeh) {
    const whenDrawn = () => (Bokeh.documents.length ? paint() : requestAnimationFrame(whenDrawn));
    whenDrawn();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  }
})();
