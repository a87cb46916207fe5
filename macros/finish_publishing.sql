{#-
    on-run-start of a build or a run, `versions` as of `versions_of`. A build that was killed while it
    published left marts of two builds to readers. All its tests had passed, and its own tag was on
    every table before readers saw the first: what it began is finished, whatever comes of this run.
    Where its tag is not on every table, readers have seen nothing of it, and nobody can go back to it.
    Returns whether a tag was moved.
-#}
{% macro finish_publishing(versions) %}
    {% set build = published_builds(versions) | first %}
    {% if not build %}{{ return(false) }}{% endif %}
    {% set shown, missed, behind = [], [], [] %}
    {% for node in table_nodes() %}
        {% set tags = versions[node.unique_id] %}
        {% if 'published' in tags %}{% do shown.append(node) %}{% endif %}
        {% if build not in tags and published_builds({node.unique_id: tags}) %}{% do missed.append(node) %}{% endif %}
    {% endfor %}
    {% for node in mart_nodes() if build in versions[node.unique_id] %}
        {% set tags = versions[node.unique_id] %}
        {% if tags.get('published') != tags[build] %}{% do behind.append(node) %}{% endif %}
    {% endfor %}
    {% if missed or not shown %}
        {% set statements = [] %}
        {% for node in table_nodes() + ml_sources() if build in versions[node.unique_id] %}
            {% do statements.append(untag_it(node, build)) %}
        {% endfor %}
        {% do run_in_turn(statements) %}
        {{ return(true) }}
    {% elif behind and current_build(versions) in ['', build] %}
        {% set statements = [] %}
        {% for node in mart_nodes() if build in versions[node.unique_id] %}
            {% do statements.extend(show_readers(node, versions[node.unique_id][build])) %}
        {% endfor %}
        {% do run_in_turn(statements) %}
        {% do log("Finished to publish " ~ build ~ ", which was killed on the way.", info=True) %}
        {{ return(true) }}
    {% endif %}
    {{ return(false) }}
{% endmacro %}
