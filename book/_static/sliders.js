// The widget player gives a slider no accessible name and its position as value: take both from the label and the readout.
(function () {
  "use strict";
  function describe(slider) {
    const label = slider.querySelector(".widget-label");
    const readout = slider.querySelector(".widget-readout");
    const handle = slider.querySelector("[role=slider]");
    if (!label || !readout || !handle) return;
    handle.setAttribute("aria-label", label.textContent);
    if (handle.getAttribute("aria-valuetext") !== readout.textContent) {
      handle.setAttribute("aria-valuetext", readout.textContent);
    }
    readout.removeAttribute("contenteditable"); // typing there does nothing without a kernel
    readout.setAttribute("aria-hidden", "true");
  }
  function describeAll() {
    document.querySelectorAll(".widget-hslider").forEach(describe);
  }
  const observer = new MutationObserver(describeAll);
  document.addEventListener("DOMContentLoaded", function () {
    const watched = { childList: true, subtree: true, characterData: true };
    document.querySelectorAll(".cell_output").forEach((cell) => observer.observe(cell, watched));
    describeAll();
  });
})();
