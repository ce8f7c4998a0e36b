// A service in JavaScript: the fetch event of the web, greeting whoever asks.
addEventListener("fetch", (event) => {
  const { pathname } = new URL(event.request.url);
  event.respondWith(new Response(`Hello from JavaScript: ${pathname}\n`, { headers: { "content-type": "text/plain" } }));
});
