const ENDED = new Set(["SUCCESS", "FAILURE", "REVOKED"]);

const byId = (id) => document.getElementById(id);
const list = byId("uploads");
const rows = new Map(); // by the id of the upload
const unfinished = new Set();
let stream = null;

function show(upload) {
  let row = rows.get(upload.id);
  if (!row) {
    row = byId("row").content.firstElementChild.cloneNode(true);
    row.querySelector("progress").setAttribute("aria-label", `Progress of ${upload.filename}`);
    rows.set(upload.id, row);
  }
  const part = (name) => row.querySelector(name);
  const ended = ENDED.has(upload.state);
  const share = upload.progress ? upload.progress.done / upload.progress.of : 0;
  row.dataset.state = upload.state;
  row.dataset.id = upload.id;
  part(".filename").textContent = upload.filename;
  part(".state").textContent = upload.state === "PROGRESS" ? `PROGRESS ${Math.round(share * 100)} %` : upload.state;
  part("progress").hidden = ended;
  part("progress").value = share;
  part(".outcome").hidden = !ended;
  part(".outcome").textContent = upload.error ?? summary(upload.result);
  part(".group").textContent = upload.group_id;
  part(".states").textContent = upload.states.join(" → ");
  part(".date").dateTime = upload.upload_date;
  part(".date").textContent = new Date(upload.upload_date).toLocaleString();
  if (ended && unfinished.delete(upload.id)) byId("news").textContent = `${upload.filename}: ${upload.state}`;
  if (!ended) unfinished.add(upload.id);
  byId("empty").hidden = rows.size > 0;
  return row;
}

function summary(result) {
  return Object.entries(result ?? {}).map(([what, count]) => `${count.toLocaleString()} ${what}`).join(", ");
}

// One stream for all that is unfinished. A browser opens it again when it breaks, and is told of everything anew.
function follow() {
  stream?.close();
  if (unfinished.size === 0) return;
  stream = new EventSource("uploads/events?" + new URLSearchParams([...unfinished].slice(0, 100).map((id) => ["id", id])));
  stream.onmessage = (event) => show(JSON.parse(event.data));
  stream.addEventListener("done", (event) => event.target.close());
}

async function load() {
  const group = new URLSearchParams(location.search).get("group") ?? "";
  byId("group").value = group;
  byId("list-title").textContent = group ? `Uploads of ${group}` : "All uploads";
  const response = await fetch("uploads" + (group ? "?" + new URLSearchParams({ group }) : ""));
  const { uploads } = await response.json();
  rows.clear();
  unfinished.clear();
  list.replaceChildren(...uploads.map(show));
  byId("empty").hidden = rows.size > 0;
  follow();
}

byId("upload").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.target.querySelector("button");
  button.disabled = true;
  try {
    const response = await fetch("uploads", { method: "POST", body: new FormData(event.target) });
    if (!response.ok) throw new Error(`The server answered ${response.status}.`);
    const upload = await response.json();
    const group = new URLSearchParams(location.search).get("group");
    if (!group || group === upload.group_id) list.prepend(show(upload));
    byId("file").value = "";
    byId("problem").hidden = true;
    follow();
  } catch (error) {
    byId("problem").textContent = `That did not work: ${error.message}`;
    byId("problem").hidden = false;
  } finally {
    button.disabled = false;
  }
});

byId("filter").addEventListener("submit", (event) => {
  event.preventDefault();
  const group = byId("group").value.trim();
  history.pushState(null, "", group ? "?" + new URLSearchParams({ group }) : location.pathname);
  load();
});
addEventListener("popstate", load);

load();
