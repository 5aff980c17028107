// Runs each call and collects what came of it: "ok", or the code or text of its error.
export async function outcomes(calls) {
  const seen = {};
  for (const [name, call] of Object.entries(calls)) {
    seen[name] = await Promise.resolve()
      .then(call)
      .then(
        () => "ok",
        (error) => error.code ?? error.context?.__code ?? String(error),
      );
  }
  return seen;
}
