import sys

from failures import fail
from flask import Flask
from werkzeug.debug import DebuggedApplication
from werkzeug.serving import run_simple

app = Flask(__name__)


@app.get("/<way>")
def index(way):
    fail(way)


app.config["PROPAGATE_EXCEPTIONS"] = True
run_simple("127.0.0.1", int(sys.argv[1]), DebuggedApplication(app, evalex=True))
