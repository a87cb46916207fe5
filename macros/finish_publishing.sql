{#-
    on-run-start of a build or a run, `versions` as of `versions_of`. A build that was killed while it
    published left marts of two builds to readers. All its tests had passed, and its own tag was on
    every mart before readers saw the first: what it began is finished, whatever comes of this run.
    Where its tag is not on every mart, readers have seen nothing of it, and nobody can go back to it.
-#}
{% macro finish_publishing(versions) %}
    {% set build = published_builds(versions) | first %}
    {% if not build %}{{ return('') }}{% endif %}
    {% set tagged, shown, missed, behind = [], [], [], [] %}
    {% for node in mart_nodes() %}
        {% set tags = versions[node.unique_id] %}
        {% if build in tags %}{% do tagged.append(node) %}{% endif %}
        {% if 'published' in tags %}{% do shown.append(node) %}{% endif %}
        {% if 'published' in tags and build not in tags %}{% do missed.append(node) %}{% endif %}
        {% if build in tags and tags.get('published') != tags[build] %}{% do behind.append(node) %}{% endif %}
    {% endfor %}
    {% if missed or not shown %}
        {% for node in tagged %}
            {% do run_query("alter table " ~ table_name(node) ~ " drop tag " ~ build) %}
        {% endfor %}
    {% elif behind and current_build(versions) in ['', build] %}
        {% for node in tagged %}{% do show_readers(node, versions[node.unique_id][build]) %}{% endfor %}
        {% do log("Finished to publish " ~ build ~ ", which was killed on the way.", info=True) %}
    {% endif %}
{% endmacro %}
