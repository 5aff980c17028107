"""What every room of the API uses: operations and the dispatcher, codecs, fields, pages, identity."""
