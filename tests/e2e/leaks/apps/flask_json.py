import sys
import traceback

from failures import fail
from flask import Flask, jsonify

app = Flask(__name__)


@app.errorhandler(Exception)
def failed(error):
    return jsonify(error=str(error), type=type(error).__name__, trace=traceback.format_exc()), 500


@app.get("/<way>")
def index(way):
    fail(way)


app.run("127.0.0.1", int(sys.argv[1]))
