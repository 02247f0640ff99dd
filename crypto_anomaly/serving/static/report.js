// Draws the figures of a report that carries its own compressed copy of Plotly.
(async () => {
  const packed = document.getElementById("plotly");
  const bytes = Uint8Array.from(atob(packed.textContent), c => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  const boxes = [...document.querySelectorAll("[data-drawn]")];
  for (const box of boxes) {
    const figure = JSON.parse(box.nextElementSibling.textContent);
    await Plotly.newPlot(box, figure.data, figure.layout, {displayModeBar: false, responsive: true});
  }
  addEventListener("beforeprint", () => boxes.forEach(box => Plotly.Plots.resize(box)));
})();
