"""The report of a job: read from the store and the job's files, written as HTML or Markdown.

reading.py      store + files → `Report`, a value that holds figures and words alone
pictures.py     data + networks → `Gallery`: images, filters, feature maps, class maps
html.py         both → one file that needs no network (templates/report.html)
markdown.py     `Report` → text
"""
