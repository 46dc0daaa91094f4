"""The web page that shows events and boxes; it loads nothing from elsewhere."""

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>Live detection</title>
<style>
  body { margin: 0 auto; padding: 12px 16px; max-width: 1280px; background: #12141a;
         color: #d8dce4; font: 15px/1.4 system-ui, sans-serif }
  #note { margin: 0 0 8px; color: #ffd60a }
  #note.live { color: #7ee08a }
  canvas { display: block; margin: 0 auto; border: 1px solid #2c313c }
  canvas.old { opacity: .45 }
  dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(108px, 1fr)); gap: 6px 8px;
       margin: 10px 0 0;
       grid-auto-flow: dense }
  dl .long { grid-column: span 3 }
  @media (min-width: 700px) { dl .long { grid-column: span 4 } }
  dt { color: #8b93a3; font-size: 12px; white-space: nowrap }
  dd { margin: 0; font-variant-numeric: tabular-nums }
</style>
<p id="note">waiting for the first window</p>
<canvas id="view" width="0" height="0"></canvas>
<dl id="counts"></dl>
<script>
const view = document.getElementById("view"), pen = view.getContext("2d");
const note = document.getElementById("note"), counts = document.getElementById("counts");
const LINE = 2, TEXT = 13, PLATE = 18, STILL_S = 3;
let shown = null, drawn = 0;

function say(text, isLive = false) {
  if (note.textContent !== text) note.textContent = text;
  note.className = isLive ? "live" : "";
  view.className = isLive ? "" : "old";
}

function fit() {  // as large as the window allows, in pixels of the screen, so that text is sharp
  const border = 2, others = document.body.offsetHeight - view.offsetHeight;
  const wide = document.body.clientWidth - 32 - border;
  const high = Math.max(window.innerHeight - others - border, 200);
  let side = Math.floor(Math.min(wide, high * shown.width / shown.height));
  side -= (wide - side) % 2;  // a whole pixel on the left, so that lines are sharp
  const sharp = window.devicePixelRatio || 1, tall = Math.round(side * shown.height / shown.width);
  view.style.width = `${side}px`; view.style.height = `${tall}px`;
  view.width = Math.round(side * sharp); view.height = Math.round(tall * sharp);
  pen.setTransform(sharp, 0, 0, sharp, 0, 0);
  return side;
}

function draw() {
  const side = fit(), zoom = side / shown.width, high = shown.height * zoom;
  pen.imageSmoothingEnabled = false;
  pen.drawImage(shown.image, 0, 0, side, high);
  pen.lineWidth = LINE; pen.font = `${TEXT}px system-ui, sans-serif`; pen.textBaseline = "middle";
  const boxes = shown.boxes.map(
    box => ({...box, at: box.xyxy.map(each => Math.round(each * zoom))}));
  for (const {at: [x1, y1, x2, y2], label} of [...boxes].reverse()) {
    pen.strokeStyle = `rgb(${shown.palette[label]})`;
    pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
  }
  const taken = [];  // a name that finds no room is left out; the best boxes come first
  for (const {at: [x1, y1, , y2], label, class: name, score} of boxes) {
    const text = `${name} ${score.toFixed(2)}`, wide = pen.measureText(text).width + 8;
    const left = Math.max(0, Math.min(x1 - 1, side - wide));
    const isFree = top => top >= 0 && top + PLATE <= high && !taken.some(
      ([x, y, w]) => left < x + w && x < left + wide && Math.abs(top - y) < PLATE);
    const top = [y1 - PLATE, y2, y1].find(isFree);
    if (top === undefined) continue;
    taken.push([left, top, wide]);
    pen.fillStyle = `rgb(${shown.palette[label]})`; pen.fillRect(left, top, wide, PLATE);
    pen.fillStyle = "#000"; pen.fillText(text, left + 4, top + PLATE / 2 + 1);
  }
}

function list(numbers) {
  counts.replaceChildren(...Object.entries(numbers).map(([name, value]) => {
    const entry = document.createElement("div"), dt = document.createElement("dt");
    const dd = document.createElement("dd");
    dt.textContent = name; dd.textContent = value; entry.append(dt, dd);
    entry.className = value.length > 20 ? "long" : ""; return entry;
  }));
}

async function next() {
  let pause = 30;
  try {
    const answer = await fetch(`latest.json?after=${shown ? shown.number : -1}`);
    const state = await answer.json();
    if (state.png && (!shown || state.number !== shown.number)) {
      state.image = new Image();
      state.image.src = "data:image/png;base64," + state.png;
      await state.image.decode();
      shown = state; drawn = Date.now();
      list(state.counts); draw();
    }
    const still = Math.round((Date.now() - drawn) / 1000);
    if (state.is_over) {
      say("The detector has ended. The page goes on when it is started again.");
      pause = 1000;
      if (shown) shown.number = -1;
    } else if (!shown) say("Waiting for the first window.");
    else if (still >= STILL_S) say(`No new window for ${still} s.`);
    else say("live", true);
  } catch (error) {
    if (!note.textContent.startsWith("The detector has ended"))
      say("The detector does not answer. Trying again.");
    pause = 1000;
    if (shown) shown.number = -1;  // a detector that is started again counts from 0
  }
  setTimeout(next, pause);
}
window.addEventListener("resize", () => shown && draw());
next();
</script>
</html>
"""
