"use strict";
// Shows the structure of a page with 3Dmol: atoms as spheres in their periodic cell.
(async () => {
  const place = document.getElementById("viewer");
  const colors = JSON.parse(place.dataset.colors);
  try {
    const answer = await fetch(place.dataset.source, { credentials: "same-origin" });
    if (!answer.ok) throw new Error(`the structure cannot be loaded (${answer.status})`);
    const background = getComputedStyle(place).backgroundColor;
    const viewer = $3Dmol.createViewer(place, { backgroundColor: background });
    const model = viewer.addModel(await answer.text(), "xyz");
    model.setStyle({}, { sphere: { scale: 0.42, colorscheme: { prop: "elem", map: colors } } });
    const ink = getComputedStyle(place).color;
    viewer.addUnitCell(model, { box: { color: ink }, alabel: "", blabel: "", clabel: "",
      astyle: { hidden: true }, bstyle: { hidden: true }, cstyle: { hidden: true } });
    viewer.zoomTo();
    viewer.rotate(25, "y");
    viewer.rotate(15, "x");
    viewer.render();
    place.dataset.atoms = String(model.selectedAtoms({}).length);
  } catch (error) {
    place.innerHTML = "";
    const message = document.createElement("p");
    message.className = "message";
    message.textContent = `There is no three-dimensional view: ${error.message}`;
    place.append(message);
  }
})();
