{#-
    Write, audit, publish. A build writes the tables in place; readers see the marts through views of
    the tag `published`, which moves only when the whole build passed. Each published build also gets a
    tag of its own on every table, so that going back is a matter of moving tags, and a table that has
    one on its version is known to have passed.
-#}

{#- on-run-end: publishes the marts of a `dbt build` and returns its name, or says in one line why not. -#}
{% macro publish(results, versions) %}
    {% set failed = [] %}
    {% set passed = [] %}
    {% for result in results %}
        {% if result.status | string in ['error', 'fail', 'runtime error', 'skipped', 'partial success'] %}
            {% do failed.append(result) %}
        {% else %}
            {% do passed.append(result.node.unique_id) %}
        {% endif %}
    {% endfor %}
    {% set built = [] %}
    {% for node in mart_nodes() if node.unique_id in passed and not is_unchanged(node) %}
        {% do built.append(node) %}
    {% endfor %}

    {% if failed | length > 0 %}
        {% set culprits = failed | rejectattr('status', 'equalto', 'skipped') | list or failed %}
        {% set found = graph.get('first_failures', {}).get(culprits[0].node.unique_id) %}
        {% do log(
            "Not published: " ~ culprits[0].node.name ~ " " ~ verdict(culprits[0].status)
            ~ (" (" ~ found ~ ")" if found else "")
            ~ (" and " ~ (culprits | length - 1) ~ " more" if culprits | length > 1 else "")
            ~ ". " ~ what_readers_see(versions),
            info=True
        ) %}
        {{ return('') }}
    {% endif %}
    {% if built | length == 0 %}
        {% if graph.last.is_unchanged %}
            {% do log("Nothing new in " ~ raw_location() ~ ", so nothing was built. " ~ what_readers_see(versions), info=True) %}
        {% endif %}
        {{ return('') }}
    {% endif %}

    {% set untested = tests_not_run(built, passed) %}
    {% if untested | length > 0 %}
        {% do log(
            "Not published: this build left out " ~ untested | length ~ " data tests of what it built, "
            ~ untested[0].name ~ " among them. " ~ what_readers_see(versions),
            info=True
        ) %}
        {{ return('') }}
    {% endif %}

    {% set unaudited = unaudited_upstream(built, passed, versions) %}
    {% if unaudited | length > 0 %}
        {% do log(
            "Not published: " ~ unaudited[0] ~ " is upstream of what was built, and its tests have not"
            ~ " passed since it changed. Build it too: dbt build. " ~ what_readers_see(versions),
            info=True
        ) %}
        {{ return('') }}
    {% endif %}

    {% set build = "build_" ~ run_started_at.strftime('%Y%m%dT%H%M%SZ') ~ "_" ~ invocation_id[:8] %}
    {% set is_complete = table_nodes() | rejectattr('unique_id', 'in', passed) | list | length == 0
        and tests_not_run(table_nodes(), passed) | length == 0 %}
    {% set tagged, shown = [], [] %}
    {% for node in table_nodes() + (ml_sources() if is_complete else []) %}
        {% set tags = versions[node.unique_id] %}
        {% set version = tags.get('main') if is_complete or node.unique_id in passed else audited_version(node, tags) %}
        {% if version %}{% do tagged.append(tag_it(node, build, version)) %}{% endif %}
    {% endfor %}
    {% set views = published_views() %}
    {% for node in built %}
        {% set tags = versions[node.unique_id] %}
        {% do shown.extend(show_readers(node, tags['main'], has_right_view=node.alias in views
            and graph.last.is_same_project and tags.get('published') == tags.get(graph.last.complete))) %}
    {% endfor %}
    {% do run_in_turn(tagged) %}
    {#- from here on readers see the new build: as little as can be is left to do -#}
    {% do run_in_turn(shown) %}
    {% if is_complete %}{% do mark_complete(build) %}{% endif %}
    {% do log("Published " ~ built | length ~ " marts in " ~ published_schema() ~ " as " ~ build ~ ".", info=True) %}
    {{ return(build) }}
{% endmacro %}


{#- dbt run-operation publish_status: what readers see now, and which builds can be had back. -#}
{% macro publish_status() %}
    {% do open_warehouse() %}
    {% set versions = versions_of(mart_nodes()) %}
    {% set builds = published_builds(versions) %}
    {% if builds | length == 0 %}
        {% do log("Nothing is published yet. Publish with: dbt build", info=True) %}
        {{ return('') }}
    {% endif %}
    {% for node in mart_nodes() %}
        {% set tags = versions[node.unique_id] %}
        {% if 'published' in tags %}
            {% set build = build_of(tags) %}
            {% set is_newest = tags['published'] == tags['main'] %}
            {% do log(
                published_schema() ~ "." ~ node.alias ~ ": " ~ build
                ~ ("" if is_newest else " (a newer, unpublished version is built)"),
                info=True
            ) %}
        {% else %}
            {% do log(published_schema() ~ "." ~ node.alias ~ ": not published", info=True) %}
        {% endif %}
    {% endfor %}
    {% do log("Builds kept, newest first: " ~ builds | join(', '), info=True) %}
{% endmacro %}


{#-
    dbt run-operation rollback [--args '{build: build_20261124T101500Z_0a1b2c3d, built: true}']
    Readers see every mart as it was published by that build; without a name, by the build before
    the one that is published now. Built tables stay as they are, but for `built`: then they, too, go
    back, staging and all, and the next dbt build loads again what came after. A kill on the way: run
    it again.
-#}
{% macro rollback(build=none, built=false) %}
    {% do open_warehouse() %}
    {% do take_lock() %}
    {% set versions = versions_of(table_nodes()) %}
    {% set build = build_to_go_back_to(build, versions) %}
    {% if built %}{% do take_back_tables(build, versions) %}{% endif %}
    {% set shown = [] %}
    {% for node in mart_nodes() %}
        {% set tags = versions[node.unique_id] %}
        {% if build in tags %}
            {% do shown.extend(show_readers(node, tags[build])) %}
        {% elif 'published' in tags %}
            {% do log(node.alias ~ " was not published by " ~ build ~ ": readers no longer see it.", info=True) %}
            {% do shown.append("drop view if exists " ~ published_schema() ~ "." ~ node.alias) %}
            {% do shown.append(untag_it(node, 'published')) %}
        {% endif %}
    {% endfor %}
    {% do run_in_turn(shown) %}
    {% do release_lock() %}
    {% do log("Readers now see " ~ build ~ (", and all tables are as it left them." if built else "."), info=True) %}
{% endmacro %}


{#- The name of a build that is kept: the one that is named, by itself or by the id of its invocation, else
    the one before what readers see. -#}
{% macro build_to_go_back_to(build, versions) %}
    {% set builds = published_builds(versions) %}
    {% if build is none %}
        {% set current = current_build(versions) %}
        {% set chosen = builds | select('lt', current) | list %}
        {% if not chosen %}
            {{ exceptions.raise_compiler_error(
                "No build before " ~ current ~ " is kept. See: dbt run-operation publish_status"
            ) }}
        {% endif %}
    {% else %}
        {% set chosen = [] %}
        {% for name in builds if name == build or name.split('_') | last == build[:8] and build | length == 36 %}
            {% do chosen.append(name) %}
        {% endfor %}
        {% if not chosen %}
            {{ exceptions.raise_compiler_error(
                "No build " ~ build ~ ". Kept are: " ~ (builds | join(', ') or 'none')
            ) }}
        {% endif %}
    {% endif %}
    {{ return(chosen[0]) }}
{% endmacro %}


{#-
    Every table at its version of a build. The mark says `changing` meanwhile, and for good where the
    build was of a part only, or the tables were made by another text since, as their columns stay those
    of now: the next build then makes all that is made of `base_events` anew.
-#}
{% macro take_back_tables(build, versions) %}
    {% for node in table_nodes() if build not in versions[node.unique_id] %}
        {{ exceptions.raise_compiler_error(
            node.name ~ " has no version of " ~ build ~ ", so nothing was changed. Go back to the project's text of "
            ~ "that build first, or take back only what readers see, without `built`."
        ) }}
    {% endfor %}
    {% set mark = mark_of_last_build() %}
    {% set project = mark.get('churn.project_of.' ~ build) %}
    {% do set_mark({'churn.project': 'changing'}) %}
    {#- base_events last: what is counted or listed twice is mended by a build, a line is not -#}
    {% for node in table_nodes() | reverse %}
        {% set tags = versions[node.unique_id] %}
        {% if tags[build] != tags['main'] %}
            {% do run_query(
                "call lake.system.set_current_snapshot(table => '" ~ table_name(node) ~ "', snapshot_id => " ~ tags[build] ~ ")"
            ) %}
        {% endif %}
    {% endfor %}
    {% if project and project == mark['churn.project'] %}
        {% do set_mark({'churn.complete': build, 'churn.project': project}) %}
    {% endif %}
{% endmacro %}


{#-
    dbt run-operation maintain [--args '{keep_hours: 72}']
    Compacts small files (tags move on to the compacted version, which has the same rows), drops the
    tags of all but the newest `builds_kept` builds, of what readers see and of the last complete build,
    expires the snapshots older than `keep_hours` that no tag needs, and removes files that no snapshot
    needs and that are older than that and a day.
-#}
{% macro maintain(keep_hours=72) %}
    {% do open_warehouse() %}
    {% do take_lock() %}
    {% set nodes = table_nodes() + ml_sources() + [graph.sources['source.' ~ project_name ~ '.audit.model_builds']] %}
    {% set versions = versions_of(nodes) %}
    {% set builds = published_builds(versions) %}
    {% set in_use = [current_build(versions), mark_of_last_build().get('churn.complete')] %}
    {% set dropped = builds[var('builds_kept'):] | reject('in', in_use) | list %}
    {% set hour, format = modules.datetime.timedelta(hours=1), '%Y-%m-%d %H:%M:%S' %}
    {% set older_than = (run_started_at - keep_hours * hour).strftime(format) %}
    {#- files of a process that is at work on a server are not yet part of a snapshot -#}
    {% set orphans_older_than = (run_started_at - [keep_hours, 24] | max * hour).strftime(format) %}
    {% for node in nodes if versions[node.unique_id] %}
        {% set table = table_name(node) %}
        {% set tags = versions[node.unique_id] %}
        {% set before = tags['main'] %}
        {% set removed = [] %}
        {% for build in dropped if build in tags %}
            {% do removed.append(untag_it(node, build)) %}
        {% endfor %}
        {% do run_in_turn(removed) %}
        {% set compacted = run_query("call lake.system.rewrite_data_files(table => '" ~ table ~ "')").rows[0] %}
        {% set after = current_snapshot(node) %}
        {% set moved = [] %}
        {% for tag, snapshot in tags.items() if snapshot == before and after != before and tag not in dropped + ['main'] %}
            {% do moved.append(tag_it(node, tag, after)) %}
        {% endfor %}
        {% do run_in_turn(moved) %}
        {% set expired = run_query(
            "call lake.system.expire_snapshots(table => '" ~ table ~ "', older_than => timestamp '" ~ older_than ~ "')"
        ).rows[0] %}
        {% set orphans = run_query(
            "call lake.system.remove_orphan_files(table => '" ~ table ~ "', older_than => timestamp '" ~ orphans_older_than ~ "')"
        ).rows | length %}
        {% do log(
            table ~ ": " ~ compacted[0] ~ " files compacted into " ~ compacted[1] ~ ", "
            ~ expired[0] ~ " expired data files and " ~ orphans ~ " orphan files removed",
            info=True
        ) %}
    {% endfor %}
    {% if dropped %}
        {% do run_query(
            "alter table " ~ counts_table() ~ " unset tblproperties if exists ('churn.project_of."
            ~ dropped | join("', 'churn.project_of.") ~ "')"
        ) %}
    {% endif %}
    {% do release_lock() %}
    {% if dropped %}
        {% do log("Builds that can no longer be had back: " ~ dropped | join(', '), info=True) %}
    {% endif %}
{% endmacro %}


{#- Helpers of the above. -#}

{% macro mart_nodes() %}
    {{ return(
        graph.nodes.values() | selectattr('resource_type', 'equalto', 'model')
        | selectattr('schema', 'equalto', marts_schema()) | sort(attribute='alias') | list
    ) }}
{% endmacro %}


{% macro table_nodes() %}
    {{ return(
        graph.nodes.values() | selectattr('resource_type', 'equalto', 'model')
        | rejectattr('config.materialized', 'in', ['view', 'ephemeral']) | sort(attribute='alias') | list
    ) }}
{% endmacro %}


{#- Of a model, or of a source. -#}
{% macro table_name(node) %}{{ return(node.schema ~ '.' ~ (node.alias or node.identifier)) }}{% endmacro %}


{% macro relation_exists(node) %}
    {{ return(load_relation(
        api.Relation.create(schema=node.schema, identifier=node.alias or node.identifier)
    ) is not none) }}
{% endmacro %}


{#- Snapshot ids by name of a tag, or `main`, by node: one query for all tables. Nothing for a table
    that is not there. -#}
{% macro versions_of(nodes) %}
    {% set versions, selects = {}, [] %}
    {% for node in nodes %}
        {% do versions.update({node.unique_id: {}}) %}
        {% if relation_exists(node) %}
            {% do selects.append(
                "select '" ~ node.unique_id ~ "', name, cast(snapshot_id as string) from " ~ table_name(node) ~ ".refs"
            ) %}
        {% endif %}
    {% endfor %}
    {% if selects %}
        {#- by one task: else a task for each table, which takes half as long again -#}
        {% for row in run_query("select /*+ coalesce(1) */ * from (" ~ selects | join(' union all ') ~ ")").rows %}
            {% do versions[row[0]].update({row[1]: row[2]}) %}
        {% endfor %}
    {% endif %}
    {{ return(versions) }}
{% endmacro %}


{% macro current_snapshot(node) %}
    {{ return(run_query(
        "select cast(snapshot_id as string) from " ~ table_name(node) ~ ".refs where name = 'main'"
    ).rows[0][0]) }}
{% endmacro %}


{#- The statement that puts a tag on a version of a table. -#}
{% macro tag_it(node, tag, snapshot) %}
    {{ return("alter table " ~ table_name(node) ~ " create or replace tag " ~ tag ~ " as of version " ~ snapshot) }}
{% endmacro %}


{#- The statement that takes a tag off a table. -#}
{% macro untag_it(node, tag) %}
    {{ return("alter table " ~ table_name(node) ~ " drop tag " ~ tag) }}
{% endmacro %}


{#- The statements that let readers see a version of a mart. The view is replaced with the tag, unless it is
    the right one: its columns are those of the version that it shows. It has the descriptions of the mart
    and its columns, for readers who have a SQL client and not dbt's docs. -#}
{% macro show_readers(node, snapshot, has_right_view=false) %}
    {% set statements = [tag_it(node, 'published', snapshot)] %}
    {% if not has_right_view %}
        {% set version = "select * from " ~ table_name(node) ~ " version as of " %}
        {% set columns = [] %}
        {% for name in run_query(version ~ snapshot ~ " limit 0").column_names %}
            {% set description = node.columns.get(name, {}).get('description') %}
            {% do columns.append("`" ~ name ~ "`" ~ comment(description, 255)) %}
        {% endfor %}
        {#- an example query is for dbt's docs -#}
        {% do statements.append(
            "create or replace view " ~ published_schema() ~ "." ~ node.alias ~ " (" ~ columns | join(', ') ~ ")"
            ~ comment(node.description.split('```')[0]) ~ " as " ~ version ~ "'published'"
        ) %}
    {% endif %}
    {{ return(statements) }}
{% endmacro %}


{#- Of a view, or of a column, for which Glue takes 255 characters; it takes no line breaks. -#}
{% macro comment(description, most=4000) %}
    {% set line = (description or '').split() | join(' ') | truncate(most, true, leeway=0) %}
    {{ return(" comment " ~ sql_string(line) if line else '') }}
{% endmacro %}


{#- Names of the views for readers, whose schema is made if it is not there. -#}
{% macro published_views() %}
    {% do run_query("create schema if not exists " ~ published_schema()) %}
    {{ return(run_query("show views in " ~ published_schema()).rows | map(attribute=1) | list) }}
{% endmacro %}


{#- The version of a table that passed last: of a mart what readers see, else the version that it has, if a
    published build had it too, else that of the newest such build. -#}
{% macro audited_version(node, tags) %}
    {% if node.schema == marts_schema() %}{{ return(tags.get('published')) }}{% endif %}
    {% set builds = published_builds({node.unique_id: tags}) %}
    {% for build in builds if tags[build] == tags['main'] %}{{ return(tags['main']) }}{% endfor %}
    {{ return(tags[builds[0]] if builds else none) }}
{% endmacro %}


{#- The newest build whose tag is on the version that is published. -#}
{% macro build_of(tags) %}
    {% set names = [] %}
    {% for name, snapshot in tags.items() if is_build(name) and snapshot == tags['published'] %}
        {% do names.append(name) %}
    {% endfor %}
    {{ return(names | sort | last | default('a build that is no longer kept', true)) }}
{% endmacro %}


{% macro is_build(name) %}{{ return(name.startswith('build_')) }}{% endmacro %}


{#- Builds that can be had back, newest first. -#}
{% macro published_builds(versions) %}
    {% set names = [] %}
    {% for tags in versions.values() %}
        {% for name in tags if is_build(name) and name not in names %}{% do names.append(name) %}{% endfor %}
    {% endfor %}
    {{ return(names | sort(reverse=true)) }}
{% endmacro %}


{#- The newest build whose tags are on what is published of every mart. -#}
{% macro current_build(versions) %}
    {% set marts = [] %}
    {% for node in mart_nodes() if 'published' in versions[node.unique_id] %}
        {% do marts.append(versions[node.unique_id]) %}
    {% endfor %}
    {% for build in published_builds(versions) %}
        {% set others = [] %}
        {% for tags in marts if tags.get(build) != tags['published'] %}{% do others.append(1) %}{% endfor %}
        {% if marts and not others %}{{ return(build) }}{% endif %}
    {% endfor %}
    {{ return('') }}
{% endmacro %}


{% macro tests_not_run(built, passed) %}
    {% set built_ids = built | map(attribute='unique_id') | list %}
    {% set missing = [] %}
    {% for test in graph.nodes.values() if test.resource_type == 'test' and test.unique_id not in passed %}
        {% if test.depends_on.nodes | select('in', built_ids) | list %}
            {% do missing.append(test) %}
        {% endif %}
    {% endfor %}
    {{ return(missing) }}
{% endmacro %}


{#- Names of the tables that the built marts are made from, that are not part of this build, and whose
    current version is not the one that passed. -#}
{% macro unaudited_upstream(built, passed, versions) %}
    {% set upstream = [] %}
    {% for node in built %}{% do add_upstream(node, upstream) %}{% endfor %}
    {% set unaudited = [] %}
    {% for node in table_nodes() if node.unique_id in upstream and node.unique_id not in passed %}
        {% set tags = versions[node.unique_id] %}
        {% if not tags or tags['main'] != audited_version(node, tags) %}
            {% do unaudited.append(node.name) %}
        {% endif %}
    {% endfor %}
    {{ return(unaudited) }}
{% endmacro %}


{% macro add_upstream(node, found) %}
    {% for parent in node.depends_on.nodes if parent in graph.nodes and parent not in found %}
        {% do found.append(parent) %}
        {% do add_upstream(graph.nodes[parent], found) %}
    {% endfor %}
{% endmacro %}


{% macro verdict(status) %}
    {{ return('was skipped' if status == 'skipped' else 'failed') }}
{% endmacro %}


{% macro what_readers_see(versions) %}
    {% set build = current_build(versions) %}
    {{ return("Readers still see " ~ build ~ "." if build else "Nothing is published yet.") }}
{% endmacro %}
