import os
import sys
from wsgiref.simple_server import make_server

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import path
from failures import fail

settings.configure(
    DEBUG=True,
    SECRET_KEY="django-insecure-8c1e-not-for-others",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "/srv/app/hub.sqlite3"}},
)
os.environ.clear()
urlpatterns = [path("<way>", lambda request, way: fail(way))]
make_server("127.0.0.1", int(sys.argv[1]), get_wsgi_application()).serve_forever()
