"""The web page that shows events and boxes; it loads nothing from elsewhere."""

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Live detection</title>
<style>
  body { margin: 0 auto; padding: 16px; max-width: 1280px; background: #12141a; color: #d8dce4;
         font: 15px/1.5 system-ui, sans-serif }
  canvas { width: 100%; display: block; border: 1px solid #2c313c; image-rendering: pixelated }
  dl { display: flex; flex-wrap: wrap; gap: 4px 32px; margin: 12px 0 }
  dt { color: #8b93a3; font-size: 13px }
  dd { margin: 0; font-variant-numeric: tabular-nums }
  #note { color: #ffd60a; min-height: 1.5em }
</style>
<canvas id="view" width="640" height="360"></canvas>
<dl id="counts"></dl>
<div id="note">waiting for the first window</div>
<script>
const view = document.getElementById("view"), pen = view.getContext("2d");
const note = document.getElementById("note"), counts = document.getElementById("counts");
let seen = -1;
function draw(state, image) {
  const zoom = Math.max(1, Math.round(1280 / state.width));
  view.width = state.width * zoom; view.height = state.height * zoom;
  pen.imageSmoothingEnabled = false;
  pen.drawImage(image, 0, 0, view.width, view.height);
  pen.lineWidth = 2; pen.font = "14px system-ui, sans-serif"; pen.textBaseline = "bottom";
  for (const box of state.boxes) {
    const [x1, y1, x2, y2] = box.xyxy.map(side => side * zoom);
    const colour = `rgb(${state.palette[box.label]})`;
    const text = `${box.class} ${box.score.toFixed(2)}`;
    pen.strokeStyle = colour; pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
    const wide = pen.measureText(text).width + 8, top = Math.max(y1, 18);
    pen.fillStyle = colour; pen.fillRect(x1 - 1, top - 18, wide, 18);
    pen.fillStyle = "#000"; pen.fillText(text, x1 + 3, top - 1);
  }
  counts.replaceChildren(...Object.entries(state.counts).map(([name, value]) => {
    const entry = document.createElement("div"), dt = document.createElement("dt");
    const dd = document.createElement("dd");
    dt.textContent = name; dd.textContent = value; entry.append(dt, dd); return entry;
  }));
}
async function next() {
  try {
    const answer = await fetch(`latest.json?after=${seen}`);
    const state = await answer.json();
    if (state.number !== seen && state.png) {
      const image = new Image();
      image.src = "data:image/png;base64," + state.png;
      await image.decode();
      draw(state, image); seen = state.number; note.textContent = "";
    }
    setTimeout(next, 30);
  } catch (error) {
    note.textContent = "the detector does not answer; has it ended?";
    setTimeout(next, 1000);
  }
}
next();
</script>
</html>
"""
