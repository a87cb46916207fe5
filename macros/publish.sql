{% macro publish(results) %}{% endmacro %}
