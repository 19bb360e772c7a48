// A file of its own because the page's Content-Security-Policy admits no inline script.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  filter: true,
  // Models stay folded: the operations are what people come for.
  defaultModelsExpandDepth: 0,
  // The badge would send the document's address to an outside host.
  validatorUrl: null,
  // A key typed here is forgotten with the page, never stored in the browser.
  persistAuthorization: false,
});
