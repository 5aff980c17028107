"""The OpenAPI document, made from the operations, and the pages that show it."""
