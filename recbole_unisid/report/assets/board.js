(() => {
  const form = document.getElementById("filters");
  const groups = [...document.querySelectorAll(".group")];
  const filter = () => {
    const { dataset, model, seeds, shown } = form.elements;
    const words = model.value.trim().toLowerCase();
    let count = 0;
    for (const group of groups) {
      let rows = 0;
      for (const row of group.querySelectorAll(".wide tbody tr")) {
        const fits = row.cells[0].textContent.toLowerCase().includes(words) && Number(row.cells[1].textContent) >= Number(seeds.value);
        row.hidden = !fits;
        rows += fits ? 1 : 0;
      }
      group.hidden = rows === 0 || (dataset.value !== "" && group.dataset.dataset !== dataset.value);
      count += group.hidden ? 0 : rows;
    }
    shown.value = `${count} rows shown`;
  };
  form.hidden = false;
  for (const event of ["input", "change"]) form.addEventListener(event, filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();
})();
