// login: the page for those who are not let in. Over https a token begins a session; the cookie is the daemon's
// own and no script can read it. Over plain http the form stays hidden: there no session begins.

const form = document.getElementById("login");
const token = document.getElementById("token");
const fault = document.getElementById("fault");

async function logIn() {
  fault.textContent = "";
  let problem = { detail: "the daemon does not answer" };
  try {
    const answer = await fetch("/api/v1/sessions", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token: token.value.trim() }),
    });
    if (answer.ok) {
      location.reload();
      return;
    }
    problem = await answer.json();
  } catch { /* said below */ }
  fault.textContent = problem.detail;
}

form.hidden = location.protocol !== "https:";
form.addEventListener("submit", (event) => {
  event.preventDefault();
  logIn();
});
