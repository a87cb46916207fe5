{#-
    Write, audit, publish. A build writes the tables in place; readers see the marts through views of the tag
    `published`, which moves only when a whole build passed all its tests. A published build has a tag of its
    own on every table, so that going back is a matter of moving tags. A view of tables that are no marts names
    the tag of the build, so that it changes in one commit. The last row of `<schema>_audit.publications` says
    which build readers are to see: it is what decides, in one commit, and whoever finds a tag or a view that
    does not follow it moves it.
-#}

{#- on-run-end: publishes a whole build and returns its name, or says in one line why not. -#}
{% macro publish(results) %}
    {% set passed, failed = [], [] %}
    {% for result in results %}
        {% do (failed if result.status | string in ['error', 'fail', 'runtime error', 'skipped', 'partial success']
            else passed).append(result.node.unique_id) %}
    {% endfor %}
    {% set missing = whole_build() | reject('in', passed) | list %}
    {% set findings = show_findings(results) %}
    {% if failed %}
        {% do log("Not published: " ~ first_failure(results, findings) ~ ". " ~ what_readers_see(), info=True) %}
    {% elif missing %}
        {% do log("Not published: only a whole build publishes, and this one left out " ~ missing | length
            ~ " of its models and tests, " ~ missing[0].split('.')[2] ~ " among them. " ~ what_readers_see()
            ~ " Publish with: dbt build", info=True) %}
    {% elif is_published() %}
        {% do log("Nothing new in " ~ raw_location() ~ ", so nothing was built. " ~ what_readers_see(), info=True) %}
    {% else %}
        {% do renew_lock(always=true) %}
        {{ return(publish_build(results)) }}
    {% endif %}
    {{ return('') }}
{% endmacro %}


{#- All that a build has to pass: models, seeds and data tests. Unit tests are of code, not of a build. -#}
{% macro whole_build() %}
    {{ return(graph.nodes.values() | selectattr('resource_type', 'in', ['model', 'seed', 'test'])
        | map(attribute='unique_id') | sort) }}
{% endmacro %}


{#- Whether all tables are as the newest published build left them. Readers may be back at an earlier one. -#}
{% macro is_published() %}
    {% set build = graph.run.publication.get('newest') %}
    {% for node in table_nodes() + seed_nodes() %}
        {% set tags = graph.run.versions[node.unique_id].tags %}
        {% if not build or tags.get('main') != tags.get(build) %}{{ return(false) }}{% endif %}
    {% endfor %}
    {{ return(graph.run.publication.tests_checksum == tests_checksum() and are_mart_views_shown()) }}
{% endmacro %}


{#- Marts that are views have no tag: of a publish that was killed on its way, theirs may be what is left. -#}
{% macro are_mart_views_shown() %}
    {% for node in mart_nodes() if is_view(node) %}
        {% if view_code(published_view(node)) != own_code(node) %}
            {{ return(false) }}
        {% endif %}
    {% endfor %}
    {{ return(true) }}
{% endmacro %}


{% macro publish_build(results) %}
    {% set build = "build_" ~ run_started_at.strftime('%Y%m%dT%H%M%SZ') ~ "_" ~ invocation_id[:8] %}
    {% set tagged, shown = [], [] %}
    {% for node in table_nodes() + seed_nodes() %}{% do tagged.append(tag_it(node, build)) %}{% endfor %}
    {% for node in mart_nodes() if not is_view(node) %}{% do shown.extend(show_readers(node)) %}{% endfor %}
    {#- parents come first in the results -#}
    {% set codes = {} %}
    {% for result in results if is_view(result.node) %}
        {% set node = graph.nodes[result.node.unique_id] %}
        {% do codes.update({node.unique_id: published_query(node, result.node.compiled_code, codes, build)}) %}
        {% if is_mart(node) %}{% do shown.append(reader_view(node, codes[node.unique_id])) %}{% endif %}
    {% endfor %}
    {% do run_in_turn(["create schema if not exists " ~ published_schema()] + tagged) %}
    {% do say_published(build, 'dbt ' ~ flags.WHICH) %}
    {#- from here on readers see the new build: as little as can be is left to do -#}
    {% do run_in_turn(shown + drop_other_views() + drop_other_tags()) %}
    {% do log("Published " ~ mart_nodes() | length ~ " marts in " ~ published_schema() ~ " as " ~ build ~ ".", info=True) %}
    {{ return(build) }}
{% endmacro %}


{#- The query of a view, of what is published: a mart is there as a view, a view of another model as its query
    (`codes`), and any other table as the build left it. So a view of several tables never shows two builds. -#}
{% macro published_query(node, code, codes, build) %}
    {% set query = namespace(text=in_order(node, code)) %}
    {% for id in node.depends_on.nodes if id in graph.nodes %}
        {% set parent = graph.nodes[id] %}
        {% set shown = published_schema() ~ '.' ~ parent.alias if is_mart(parent)
            else '(' ~ codes[id] ~ ')' if is_view(parent)
            else table_name(parent) ~ " version as of '" ~ build ~ "'" %}
        {% set name = '(?<![\\w.])' ~ modules.re.escape(table_name(parent)) ~ '\\b' %}
        {% set query.text = modules.re.split(name, query.text) | join(shown) %}
    {% endfor %}
    {{ return(query.text) }}
{% endmacro %}


{#- The decision, in one commit. -#}
{% macro say_published(build, command) %}
    {% do run_query("insert into " ~ publications() ~ " values (" ~ [
        graph.run.publication.get('number', 0) + 1, sql_string(build), sql_string(command), 'current_timestamp()',
        sql_string(tests_checksum()),
    ] | join(', ') ~ ")") %}
{% endmacro %}


{% macro publications() %}{{ return(audit_schema() ~ '.publications') }}{% endmacro %}


{#- `build_name`, which readers are to see; `newest`, the newest build that was published, and its tests. -#}
{% macro last_publication() %}
    {% set of_builds = " filter (where command <> 'rollback')" %}
    {% set row = run_query(
        "select max(number), max_by(build_name, number), max_by(build_name, number)" ~ of_builds
        ~ ", max_by(tests_checksum, number)" ~ of_builds ~ " from " ~ publications()
    ).rows[0] %}
    {{ return({'number': row[0] | int, 'build_name': row[1], 'newest': row[2], 'tests_checksum': row[3]} if row[0] else {}) }}
{% endmacro %}


{#- on-run-start: of a publish or a rollback that was killed on its way, what is left to do. -#}
{% macro finish_publishing() %}
    {% set build, statements = graph.run.publication.get('build_name'), [] %}
    {% for node in mart_nodes() if build %}
        {% do statements.extend(show_view(node, build) if is_view(node) else show_readers(node, build)) %}
    {% endfor %}
    {% if statements %}
        {% do run_in_turn(statements) %}
        {% do log("Finished an interrupted publication: readers now see " ~ build ~ ".", info=True) %}
    {% endif %}
{% endmacro %}


{#- The statements that let readers see a mart as it is now, or as a build left it; none where they see that. Its
    view is replaced where its columns or their descriptions may differ. -#}
{% macro show_readers(node, build=none) %}
    {% set tags = graph.run.versions[node.unique_id].tags %}
    {% if build and (build not in tags or tags.get('published') == tags[build]) %}{{ return([]) }}{% endif %}
    {% set statements = [tag_it(node, 'published', tags[build] if build else none)] %}
    {% set is_same = not build and graph.run.publication.get('tests_checksum') == tests_checksum()
        and tags.get('published') and origin_of(node.unique_id, 'published') and origin_of(node.unique_id, 'published')[0] == origin_of(node.unique_id)[0] %}
    {% if not is_same %}
        {% do statements.append(reader_view(node, "select * from " ~ table_name(node) ~ " version as of 'published'",
            run_query("select * from " ~ table_name(node) ~ " version as of " ~ tags[build] ~ " limit 0").column_names if build)) %}
    {% endif %}
    {{ return(statements) }}
{% endmacro %}


{#- The statement that lets a view of tables show them as a build left them; none where it does. Its query stays
    as it is, and so do its columns. -#}
{% macro show_view(node, build) %}
    {% set view, tables = published_view(node), [] %}
    {% for id in table_parents(node) if id in graph.nodes and not is_mart(graph.nodes[id]) %}{% do tables.append(id) %}{% endfor %}
    {% set code, names = view_code(view) if tables else none, [] %}
    {% if not code %}{{ return([]) }}{% endif %}
    {% for id in tables if build not in graph.run.versions[id].tags %}{{ return([]) }}{% endfor %}
    {% set query = modules.re.split('\\nAS\\s', run_query("show create table " ~ view).rows[0][0], 1)[1] %}
    {% set of_build = modules.re.sub("version as of '\\w+'", "version as of '" ~ build ~ "'", query) %}
    {% if of_build == query %}{{ return([]) }}{% endif %}
    {% for row in run_query("describe " ~ view).rows %}{% do names.append(row[0]) %}{% endfor %}
    {{ return([view_statement(view, node, of_build, code, names)]) }}
{% endmacro %}


{#- Where readers see a mart. -#}
{% macro published_view(node) %}{{ return(api.Relation.create(schema=published_schema(), identifier=node.alias)) }}{% endmacro %}


{#- The statement that lets readers see a query in place of a mart. -#}
{% macro reader_view(node, query, names=none) %}
    {{ return(view_statement(published_view(node), node, query, own_code(node) if is_view(node), names)) }}
{% endmacro %}


{#- Of a view, or of a column, for which Glue takes 255 characters; it takes no line breaks. -#}
{% macro comment(description, most=4000) %}
    {% set line = (description or '').split() | join(' ') | truncate(most, true, leeway=0) %}
    {{ return(" comment " ~ sql_string(line) if line else '') }}
{% endmacro %}


{#- The statements that take from readers what is a mart no longer. -#}
{% macro drop_other_views() %}
    {% set statements, marts = [], mart_nodes() | map(attribute='alias') | list %}
    {% for row in run_query("show views in " ~ published_schema()).rows if row[1] not in marts and not row[2] %}
        {% set name = row[1] %}
        {% do statements.append("drop view if exists " ~ published_schema() ~ "." ~ name) %}
        {% if relation_exists({'schema': marts_schema(), 'alias': name}) %}
            {% do statements.append("alter table " ~ marts_schema() ~ "." ~ name ~ " drop tag if exists published") %}
        {% endif %}
        {% do log(published_schema() ~ "." ~ name ~ " is no longer a mart, so readers no longer see it.", info=True) %}
    {% endfor %}
    {{ return(statements) }}
{% endmacro %}


{#- The statements that take the tag of readers from what is a mart no longer, or never was: it holds rows. -#}
{% macro drop_other_tags() %}
    {% set statements = [] %}
    {% for node in table_nodes() + seed_nodes() if not is_mart(node) and 'published' in graph.run.versions[node.unique_id].tags %}
        {% do statements.append("alter table " ~ table_name(node) ~ " drop tag if exists published") %}
    {% endfor %}
    {{ return(statements) }}
{% endmacro %}


{#- The statement that puts a tag on the version that a table has, or on another one. -#}
{% macro tag_it(node, tag, snapshot=none) %}
    {{ return("alter table " ~ table_name(node) ~ " create or replace tag " ~ tag ~ (" as of version " ~ snapshot if snapshot else "")) }}
{% endmacro %}


{#- Changes when a test does, or what readers are told of the marts. -#}
{% macro tests_checksum() %}
    {% if 'tests_checksum' not in graph.run %}
        {% set parts = [] %}
        {% for node in graph.nodes.values() | sort(attribute='unique_id') %}
            {% if node.resource_type == 'test' %}
                {% do parts.append(own_code(node) ~ tojson(node.get('test_metadata'), sort_keys=true) ~ tojson(node.config, sort_keys=true)
                    ~ macro_texts(node.depends_on.macros, 'macros/generic_tests.sql')) %}
            {% elif node.resource_type == 'model' and (is_mart(node) or is_view(node)) %}
                {% do parts.append(own_code(node) ~ node.description ~ node.columns.values() | map(attribute='description') | join) %}
            {% endif %}
        {% endfor %}
        {% do graph.run.update({'tests_checksum': local_md5(parts | join)}) %}
    {% endif %}
    {{ return(graph.run.tests_checksum) }}
{% endmacro %}


{#- dbt's own line says how many rows a test found, not which: logs up to three, and returns the first by test. -#}
{% macro show_findings(results) %}
    {% set findings = {} %}
    {% for result in results if result.node.resource_type == 'test' and result.status | string in ['fail', 'warn'] %}
        {% set messages = failing_rows(result.node) %}
        {% for message in messages %}{% do log(result.node.name ~ ": " ~ message, info=True) %}{% endfor %}
        {% do findings.update({result.node.unique_id: messages[0]}) %}
    {% endfor %}
    {{ return(findings) }}
{% endmacro %}


{#- The first node that failed, what it found, and how many others there are. -#}
{% macro first_failure(results, findings) %}
    {% set errors = results | rejectattr('status', 'in', ['success', 'pass', 'warn', 'skipped', 'no-op']) | list %}
    {% set first = (errors or results | selectattr('status', 'equalto', 'skipped') | list)[0].node %}
    {% set found = findings.get(first.unique_id) %}
    {{ return(first.name ~ (" failed" if errors else " was skipped") ~ (" (" ~ found ~ ")" if found else "")
        ~ (" and " ~ (errors | length - 1) ~ " more" if errors | length > 1 else "")) }}
{% endmacro %}


{% macro failing_rows(test) %}
    {% set found, messages = run_query("select * from (" ~ test.compiled_code ~ "\n) limit 3"), [] %}
    {% for row in found.rows %}
        {% set values = [] %}
        {% for name in found.column_names %}{% do values.append(name ~ '=' ~ row[name]) %}{% endfor %}
        {% do messages.append(row['message'] if 'message' in found.column_names else values | join(', ')) %}
    {% endfor %}
    {{ return(messages) }}
{% endmacro %}


{% macro what_readers_see() %}
    {% set build = graph.run.publication.get('build_name') %}
    {{ return("Readers still see " ~ build ~ "." if build else "Nothing is published yet.") }}
{% endmacro %}
