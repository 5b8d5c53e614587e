/* Gradio gives a text box with a copy button no label that screen readers find: name it by the text above it. */
new MutationObserver(() => {
  for (const box of document.querySelectorAll("textarea:not([aria-label])")) {
    const shown = box.closest(".block")?.querySelector("[data-testid=block-info]")?.textContent.trim();
    if (shown && !box.labels.length) box.setAttribute("aria-label", shown);
  }
}).observe(document, { childList: true, subtree: true });
