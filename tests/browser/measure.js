() => {
  // Boxes and contrast of what a panel shows: measured in the page, not judged.
  const panel = document.querySelector(".fluxmagic-panel");
  const seen = x => x.offsetParent !== null && x.getBoundingClientRect().width > 0;
  const box = x => (({ left, right, top, bottom }) => ({ left, right, top, bottom }))(x.getBoundingClientRect());
  const all = s => [...panel.querySelectorAll(s)].filter(seen);

  const numbers = c => (c.match(/[\d.]+/g) || []).map(Number);
  const luminance = c => {
    const [r, g, b] = numbers(c).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = x => {
    for (; x; x = x.parentElement) {
      const c = getComputedStyle(x).backgroundColor, alpha = numbers(c)[3];
      if (c !== "transparent" && (alpha === undefined || alpha === 1)) return c;
    }
    return "rgb(255, 255, 255)";
  };
  const contrast = x => {
    const [a, b] = [luminance(getComputedStyle(x).color), luminance(ground(x))].sort((p, q) => q - p);
    return (a + 0.05) / (b + 0.05);
  };
  const texts = all(".widget-label, .widget-html-content, button, select, input, pre, [role]")
    .filter(x => !x.disabled && (x.innerText || x.value || "").trim());
  return {
    panel: box(panel),
    image: all("img").map(box)[0],
    dials: all(".fluxmagic-dials .noUi-base").map(box),
    timeLine: all(".fluxmagic-time .noUi-base").map(box)[0],
    cut: all(".widget-label, button, select").filter(x => x.scrollWidth > x.clientWidth + 1).map(x => x.innerText),
    outside: all("*").filter(x => box(x).right > box(panel).right + 2).map(x => x.className),
    faint: texts.filter(x => contrast(x) < 4.5).map(x => [x.innerText || x.value, contrast(x)]),
    texts: texts.length,
  };
}
