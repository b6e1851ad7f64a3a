// NiiVue viewers with linked cross-hairs: the label map first, then the samples.

const VIEWS = { axial: 0, coronal: 1, sagittal: 2, multi: 3, render: 4 };
const STEPS = {
  ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0],
  PageUp: [0, 0, 1], PageDown: [0, 0, -1],
};

export const hasWebGL = () => Boolean(document.createElement("canvas").getContext("webgl2"));

export class Viewers {
  constructor(grid, onPlace) {
    this.grid = grid;
    this.onPlace = onPlace;
    this.viewers = [];
    this.view = "multi";
    this.works = hasWebGL();
  }

  // A figure with a title, links, and a canvas; existing ones are used again.
  async slot(number, title, links = []) {
    let viewer = this.viewers[number];
    if (!viewer) {
      viewer = this.#figure();
      this.viewers[number] = viewer;
      if (this.works) await this.#attach(viewer);
    }
    viewer.title.textContent = title;
    viewer.links.replaceChildren(...links.map(({ text, url, name }) => {
      const link = document.createElement("a");
      Object.assign(link, { textContent: text, href: url, download: name });
      return link;
    }));
    viewer.canvas.setAttribute("aria-label", title);
    return viewer;
  }

  async show(number, buffer, options) {
    const viewer = this.viewers[number];
    if (!viewer.nv) return;
    const place = viewer.nv.volumes.length ? [...viewer.nv.scene.crosshairPos] : null;
    const image = await niivue.NVImage.loadFromFile({
      file: new File([buffer], "volume.nii.gz"), name: "volume.nii.gz", ...options.range,
    });
    if (options.classes) {
      image.setColormapLabel(options.classes);
      viewer.nv.setInterpolation(true);
    }
    while (viewer.nv.volumes.length) viewer.nv.removeVolume(viewer.nv.volumes[0]);
    viewer.nv.addVolume(image);
    if (place) viewer.nv.scene.crosshairPos = place;
    viewer.nv.setSliceType(VIEWS[this.view]);
    viewer.shown = (viewer.shown || 0) + 1;
    viewer.canvas.dataset.shown = viewer.shown;
  }

  setClasses(table) {
    const nv = this.viewers[0]?.nv;
    if (!nv || !nv.volumes.length) return;
    nv.volumes[0].setColormapLabel(table);
    nv.updateGLVolume();
  }

  setView(view) {
    this.view = view;
    for (const { nv } of this.viewers) nv?.setSliceType(VIEWS[view]);
  }

  keep(count) {
    for (const viewer of this.viewers.splice(count)) {
      viewer.nv?.gl.getExtension("WEBGL_lose_context")?.loseContext();
      viewer.figure.remove();
    }
    this.#link();
  }

  #figure() {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const title = document.createElement("strong");
    const links = document.createElement("span");
    links.className = "buttons";
    const box = document.createElement("div");
    box.className = "canvas";
    const canvas = document.createElement("canvas");
    canvas.tabIndex = 0;
    box.append(canvas);
    caption.append(title, links);
    figure.append(caption, box);
    this.grid.append(figure);
    if (!this.works) box.hidden = true;
    return { figure, title, links, canvas, nv: null };
  }

  async #attach(viewer) {
    const nv = new niivue.Niivue({
      backColor: [0, 0, 0, 1], crosshairColor: [0.2, 0.75, 1, 0.8], crosshairWidth: 0.3,
      multiplanarShowRender: 1, isColorbar: false, loadingText: "", dragAndDropEnabled: false,
      show3Dcrosshair: true, isRadiologicalConvention: true, isOrientCube: false,
    });
    await nv.attachToCanvas(viewer.canvas);
    nv.onLocationChange = (place) => {
      if (viewer === this.viewers[0]) this.onPlace(place);
    };
    viewer.nv = nv;
    // Before the keys of NiiVue itself.
    viewer.canvas.addEventListener("keydown", (event) => {
      const step = STEPS[event.key];
      if (!step || !nv.volumes.length) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      nv.moveCrosshairInVox(...step);
    }, true);
    this.#link();
  }

  #link() {
    const all = this.viewers.map((viewer) => viewer.nv).filter(Boolean);
    for (const nv of all) {
      nv.broadcastTo(all.filter((other) => other !== nv), { "2d": true, "3d": true });
    }
  }
}
