// Keys of the page; it is put into the page as an inline script.
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.getElementById("stop")?.click();
});
